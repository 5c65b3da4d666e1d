from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cnnlab.style.losses import LossSpec, wasserstein_loss
from cnnlab.style.network_loss import make_network_loss
from cnnlab.style.tiled_loss import TransferLoss, spatial_size
from tests.style.test_tiled_loss import make_loss

SIZE = (32, 40)


def make_wasserstein_loss() -> TransferLoss:
    spec: LossSpec = wasserstein_loss(
        strength=0.7,
        color_weight=0.1,
        layers=["relu1_1", "relu2_1", "relu3_1"],
        block_weights=[1.0, 0.5, 0.1, 0.0, 0.0],
        content_layer="relu2_2",
    )
    return make_loss(spec=spec, margin=4)


def make_images(count: int) -> Tensor:
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(3)) * 0.8


@pytest.mark.parametrize("transfer_loss", [make_loss(), make_wasserstein_loss()])
def test_of_one_image_it_is_the_loss_of_stylize(transfer_loss: TransferLoss) -> None:
    """Scales, content, style, colors and margin: with the content image as the only one that the
    scales are computed from."""
    content, output = make_images(2).split(1)
    own = replace(transfer_loss, content=lambda size: content)
    canvas = make_network_loss(own, content).extend(output)
    expected = own.evaluate_terms(own.make_objective(spatial_size(content)), canvas)
    actual = make_network_loss(own, content).compute_terms(output, content)
    torch.testing.assert_close(actual, expected)


def test_a_batch_of_one_image_repeated_has_its_loss() -> None:
    content, output = make_images(2).split(1)
    loss = make_network_loss(make_wasserstein_loss(), content)
    once = loss.compute_terms(output, content)
    thrice = loss.compute_terms(output.repeat(3, 1, 1, 1), content.repeat(3, 1, 1, 1))
    torch.testing.assert_close(thrice, once)


def test_the_scales_are_those_of_all_images_on_average() -> None:
    images = make_images(3)
    losses = [make_network_loss(make_wasserstein_loss(), x) for x in (images, *images.split(1))]
    whole, *single = (1 / loss.objective.scales[0] for loss in losses)
    torch.testing.assert_close(whole, torch.stack(single).mean())


def test_a_style_is_shared_by_the_images_of_a_batch() -> None:
    """Two halves of a style image have its style together, and neither alone."""
    style = make_images(1)
    style[..., :16, :] *= 0.2
    transfer_loss = make_loss(styles=[lambda size: style], style_scales=[2**0.5])
    halves = torch.cat([style[..., :16, :], style[..., 16:, :]])
    loss = make_network_loss(transfer_loss, make_images(2)[..., :16, :])
    together = loss.style_term(loss.compute_terms(halves, halves))
    alone = [loss.style_term(loss.compute_terms(x, x)) for x in halves.split(1)]
    assert together < 0.3 * min(alone)


def test_the_gradient_reaches_every_image() -> None:
    images = make_images(2)
    outputs = (images * 0.5).requires_grad_()
    make_network_loss(make_wasserstein_loss(), images).compute_terms(outputs, images)[0].backward()
    assert outputs.grad is not None and bool(outputs.grad.flatten(1).any(1).all())
