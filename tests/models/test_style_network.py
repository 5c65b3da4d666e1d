import pytest
import torch

from cnnlab.models.layers import initialize_weights
from cnnlab.models.style_network import StyleNetwork, style_network

KEYS = {
    "width": 4,
    "blocks": 1,
    "style": None,
    "style_scale": 1.0,
    "margin": 0,
    "features": {},
    "loss": {},
}


def make_network(blocks: int = 1) -> StyleNetwork:
    network = StyleNetwork(4, blocks).eval()
    initialize_weights(network, torch.Generator().manual_seed(0))
    return network


def make_image(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def freeze_statistics(network: StyleNetwork) -> None:
    """Give every normalization statistics of its own, whatever the image."""
    for norm in network.norms:
        rng = torch.Generator().manual_seed(norm.num_features)
        norm.statistics = (
            torch.rand(norm.num_features, generator=rng) - 0.5,
            torch.rand(norm.num_features, generator=rng) + 0.5,
        )


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 16), (17, 30), (33, 18), (40, 64)])
def test_an_image_keeps_its_size_and_range(size: tuple[int, int]) -> None:
    stylized = make_network()(make_image(*size).repeat(2, 1, 1, 1))
    assert stylized.shape == (2, 3, *size)
    assert float(stylized.min()) >= 0 and float(stylized.max()) <= 1
    torch.testing.assert_close(stylized[0], stylized[1])  # normalized image by image


@torch.no_grad()
def test_pixels_beyond_the_receptive_field_change_nothing() -> None:
    network, image = make_network(), make_image(128, 128)
    freeze_statistics(network)
    radius, changed = network.receptive_radius, image.clone()
    changed[..., 64, 64] += 0.5
    rows = (network(image) != network(changed)).any(1)[0].nonzero()
    assert (rows - 64).abs().max() <= radius and (rows - 64).abs().max() > radius - 8


@torch.no_grad()
def test_an_image_that_is_padded_is_the_same_inside() -> None:
    """With the statistics fixed, the border is not visible beyond the receptive field."""
    network, image = make_network(), make_image(112, 112)
    freeze_statistics(network)
    whole, cropped = network(image), network(image[..., 8:, 8:])
    inside = network.receptive_radius
    torch.testing.assert_close(
        whole[..., 8 + inside :, 8 + inside :], cropped[..., inside:, inside:]
    )


@torch.no_grad()
def test_a_flat_image_stays_flat() -> None:
    """Neither a checkerboard nor a frame comes from the network itself."""
    stylized = make_network(2)(torch.full((1, 3, 48, 64), 0.3))
    assert float(stylized.flatten(2).std(2).max()) < 1e-4


def test_unusable_images_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="18x15 pixels are too few: each side needs at least 16"):
        make_network()(make_image(15, 18))
    with pytest.raises(ValueError, match="takes color images of at least 16 pixels, not 1x28x28"):
        style_network((1, 28, 28), 10, **KEYS)
    with pytest.raises(ValueError, match="width must be even and above 0"):
        style_network((3, 32, 32), 1, **KEYS | {"width": 3})
    with pytest.raises(ValueError, match="style_scale must be above 0"):
        style_network((3, 32, 32), 1, **KEYS | {"style_scale": 0.0})
