"""Images whose opposite sides are neighbors: shifting one around shifts everything with it."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from cnnlab.style.canvas import resize_canvas
from cnnlab.style.losses import total_variation
from cnnlab.style.optimizers import LBFGS
from cnnlab.style.time_budget import TransferBudget
from cnnlab.style.torus import make_periodic, resize_wrapped, round_to_stride
from cnnlab.style.transfer import transfer_style
from tests.style.test_guidance import NAMES, SPECS, double_loss, noisy_content

SIZE, SHIFT = (32, 40), (8, -12)  # multiples of the deepest stride, 4


def roll(x: Tensor, shift: tuple[int, int] = SHIFT) -> Tensor:
    return x.roll(shift, (2, 3))


def seam_ratio(x: Tensor) -> float:
    """Return the mean difference across the seam, relative to that of other neighbors."""
    ratios = []
    for dim in (2, 3):
        differences = (x - x.roll(1, dim)).abs().mean((0, 1, 5 - dim))
        ratios.append(float(differences[0] / differences[1:].mean()))
    return max(ratios)


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
@pytest.mark.parametrize("max_tile_pixels", [1 << 60, 1100])
def test_loss_of_a_shifted_image_is_the_same(spec: object, max_tile_pixels: int) -> None:
    loss = double_loss(spec=spec, wrap=True, tv_weight=0.3)
    shifted = replace(loss, content=lambda size: roll(loss.content(size)))
    tiled = replace(shifted, max_tile_pixels=max_tile_pixels, style_cache={})
    x = noisy_content(loss)
    terms, gradient = loss.make_loss_function(loss.make_objective(SIZE))(x)
    shifted_terms, shifted_gradient = tiled.make_loss_function(tiled.make_objective(SIZE))(roll(x))
    assert (len(tiled.make_tiles(SIZE)) > 1) == (max_tile_pixels == 1100)
    torch.testing.assert_close(shifted_terms, terms, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(shifted_gradient, roll(gradient), rtol=1e-7, atol=1e-12)
    plain = replace(shifted, wrap=False, style_cache={})
    assert not torch.allclose(plain.evaluate_terms(plain.make_objective(SIZE), roll(x)), terms)


def test_wrapped_maps_are_the_inner_ones_of_a_repeated_image() -> None:
    """Against an oracle: nine copies of the image, without wrapping."""
    loss = double_loss()
    x = noisy_content(loss)
    maps = loss.encoder(x, loss.relu_names, wrap=True)
    repeated = loss.encoder(x.repeat(1, 1, 3, 3), loss.relu_names)
    for name, wrapped in maps.items():
        height, width = wrapped.shape[2:]
        inner = repeated[name][..., height : 2 * height, width : 2 * width]
        torch.testing.assert_close(wrapped, inner)


def test_shifted_transfer_is_shifted() -> None:
    loss = double_loss(wrap=True)
    shifted = replace(loss, content=lambda size: roll(loss.content(size)))
    images = []
    for each in (loss, shifted):
        budget = TransferBudget([SIZE], [4], [1.0])
        optimizer = partial(LBFGS, history_size=5)
        *_, state = transfer_style(each, each.content, optimizer, budget)
        images.append(state.image)
    torch.testing.assert_close(roll(images[0]), images[1], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(images[0], loss.content(SIZE), atol=0.01)


def test_periodic_image_has_the_gradients_of_the_inside_and_no_seam() -> None:
    """Against the definition: its Laplacian is the image's, of which no seam is a part."""
    g = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 2, *SIZE, generator=g, dtype=torch.float64)
    x = 0.4 + 0.2 * torch.linspace(0, 1, SIZE[1], dtype=torch.float64) + 0.01 * noise
    periodic = make_periodic(x)

    def laplacian(x: Tensor, mode: str) -> Tensor:
        y = pad(x, (1, 1, 1, 1), mode=mode)
        neighbors = y[..., 2:, 1:-1] + y[..., :-2, 1:-1] + y[..., 1:-1, 2:] + y[..., 1:-1, :-2]
        return neighbors - 4 * x

    torch.testing.assert_close(laplacian(periodic, "circular"), laplacian(x, "replicate"))
    torch.testing.assert_close(periodic.mean(), x.mean())
    assert seam_ratio(x) > 20 and seam_ratio(periodic) < 2


@pytest.mark.parametrize("new_size", [(48, 64), (16, 24), (96, 40)])
def test_resizing_has_the_opposite_sides_as_neighbors(new_size: tuple[int, int]) -> None:
    """Against an oracle: the inner part of nine copies, resized."""
    x = torch.rand(1, 2, *SIZE, generator=torch.Generator().manual_seed(0))
    height, width = new_size
    nine = interpolate(
        x.repeat(1, 1, 3, 3),
        (3 * height, 3 * width),
        mode="bicubic",
        align_corners=False,
        antialias=height < SIZE[0],
    )
    expected = nine[..., height : 2 * height, width : 2 * width]
    torch.testing.assert_close(resize_wrapped(x, new_size), expected)
    torch.testing.assert_close(resize_canvas(x, new_size, 0, wrap=True), expected)


def test_wrapped_total_variation_counts_the_seam() -> None:
    x = torch.tensor([[[[0.0, 1.0, 0.0, 3.0]]]])
    assert float(total_variation(x, wrap=True)) == (1 + 1 + 9 + 9) / 4


def test_sides_are_rounded_to_the_stride() -> None:
    assert round_to_stride((382, 512), 16) == (384, 512)
    assert round_to_stride((5, 25), 16) == (16, 32)
