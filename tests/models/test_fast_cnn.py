import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.models.fast_cnn import DiracConv, PatchWhitening, SmallLinear, fast_cnn
from cnnlab.models.layers import copy_with_random_weights, initialize_weights
from cnnlab.models.receptive_field import compute_receptive_fields

NORM = {"decay": 0.6, "eps": 1e-12}
KEYS = {"patch_size": 2, "whitening_eps": 5e-4, "widths": [4, 6], "convs": 2, "batch_norm": NORM}


def correlated_images(count: int) -> torch.Tensor:
    """Images whose channels, and whose neighboring pixels, are correlated."""
    rng = torch.Generator().manual_seed(0)
    noise = 10 * torch.randn(count, 4, 18, 18, generator=rng)
    mixed = torch.einsum("nchw,dc->ndhw", noise, torch.randn(3, 4, generator=rng))
    return F.avg_pool2d(mixed, 3, 1)


def test_whitened_patches_have_the_identity_covariance() -> None:
    layer, images = PatchWhitening(3, 2, 5e-4), correlated_images(200)
    layer.fit(images)
    maps = layer(images)
    components, negatives = maps.chunk(2, 1)
    torch.testing.assert_close(components, -negatives)
    flat = components.transpose(0, 1).flatten(1)
    covariance = flat @ flat.T / flat.shape[1]
    # The constant under the variances is 5e-4 of much larger ones here.
    torch.testing.assert_close(covariance, torch.eye(12), rtol=0, atol=2e-3)
    assert not layer.weight.requires_grad


def test_whitening_survives_random_weights() -> None:
    """The sanity check of saliency maps randomizes what is learned."""
    model, images = fast_cnn((3, 16, 16), 5, **KEYS), correlated_images(20)
    model.whiten.conv.fit(images)
    other = copy_with_random_weights(model, torch.Generator().manual_seed(1), images)
    assert torch.equal(other.whiten.conv.weight, model.whiten.conv.weight)
    assert other(images).isfinite().all()


def test_first_filters_copy_their_inputs_at_initialization() -> None:
    conv, x = DiracConv(3, 5), torch.randn(2, 3, 7, 7)
    conv.initialize(torch.Generator().manual_seed(0))
    torch.testing.assert_close(conv(x)[:, :3], x)
    assert conv.weight[3:].abs().max() < 27**-0.5 and conv.weight[3:].std() > 0.08


def test_initial_logits_are_small() -> None:
    linear = SmallLinear(256, 10)
    linear.initialize(torch.Generator().manual_seed(0))
    assert float(linear.weight.detach().std()) == pytest.approx(1 / 256, rel=0.05)


def test_layers_and_parameters() -> None:
    model = fast_cnn((3, 32, 32), 10, **KEYS | {"widths": [64, 256, 256]})
    convs = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    fields = compute_receptive_fields(model, (3, 32, 32))
    assert [fields[name].size for name in ("whiten", "group_1", "group_2")] == [
        (2, 2),
        (9, 9),
        (23, 23),
    ]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == convs + 2 * (64 + 256 + 256) + 2560
    assert model[:4](torch.zeros(1, 3, 32, 32)).shape == (1, 256, 3, 3)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_third_convolution_is_in_a_residual_connection() -> None:
    model = fast_cnn((1, 12, 12), 3, **KEYS | {"convs": 3})
    initialize_weights(model, torch.Generator().manual_seed(0))
    residual, x = model.group_1.residual, torch.randn(2, 4, 5, 5)
    layers = nn.Sequential(*residual)
    torch.testing.assert_close(residual(x), x + layers(x))
    assert [type(m) for m in model.group_1.children()][-1] is nn.GELU


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"convs": 4}, "convs must be 2 or 3, not 4"),
        ({"widths": [4] * 5}, "use fewer widths"),
        ({"whitening_eps": 0.0}, "above 0, not 0.0"),
    ],
)
def test_impossible_networks_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fast_cnn((3, 16, 16), 5, **KEYS | changes)
