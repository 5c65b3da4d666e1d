import pytest
import torch

from cnnlab.style.tiling import make_tiles
from cnnlab.style.vgg import (
    TORCHVISION_CONVENTION,
    VGGFeatures,
    conv_channels,
    init_random_vgg,
    relu_stride,
)

DEEP = conv_channels((2, 2, 1), (3, 4, 4))


@pytest.mark.parametrize("size", [(64, 64), (97, 130), (31, 500), (16, 16), (1001, 47)])
@pytest.mark.parametrize("most", [1, 3000, 10_000, 1 << 40])
def test_tiles_cover_each_position_once_with_enough_margin(
    size: tuple[int, int], most: int
) -> None:
    reach, grain = 20, 8
    found = make_tiles(size, most, reach, grain)
    pixels = torch.arange(size[0] * size[1]).view(1, 1, *size)
    for step in (1, 2, 4, 8):
        whole = pixels[..., : size[0] // step * step : step, : size[1] // step * step : step]
        counted = torch.zeros_like(whole)
        for piece in found:
            looked = piece.crop(pixels)
            height, width = (side // step * step for side in looked.shape[2:])
            inner = piece.crop_valid(looked[..., :height:step, :width:step], step)
            assert torch.equal(inner, piece.crop_whole_maps(whole, step))
            piece.crop_whole_maps(counted, step).add_(1)
        assert bool((counted == 1).all())
    least = 1
    for length in size:
        least *= min(
            length, grain + 2 * 24
        )  # the smallest part, and around it the reach in whole grains
    for piece in found:
        assert piece.crop(pixels)[0, 0].numel() <= max(most, least)
        for length, (outer, inner) in zip(size, (piece.rows, piece.columns), strict=True):
            assert outer.start % grain == 0 and inner.start % grain == 0
            assert outer.start == 0 or inner.start - outer.start >= reach
            assert outer.stop is None or outer.stop - (inner.stop or length) >= reach


def test_receptive_radius_equals_gradient_support() -> None:
    """By the gradient of one place of each layer's maps."""
    encoder = VGGFeatures(
        {k: v.abs() for k, v in init_random_vgg(DEEP, torch.Generator().manual_seed(0)).items()},
        TORCHVISION_CONVENTION,
    )
    for name in encoder.relu_names:
        x = torch.full((1, 3, 96, 96), 0.5, requires_grad=True)
        maps = encoder(x, [name])[name]
        at = maps.shape[2] // 2
        (gradient,) = torch.autograd.grad(maps[0, :, at, at].sum(), x)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        step = relu_stride(name)
        first, last = (
            at * step - encoder.receptive_radius([name]),
            (at + 1) * step - 1 + encoder.receptive_radius([name]),
        )
        # A maximum hands its gradient to one of its pixels: it may fall short by the pooling's width.
        assert first <= int(rows[0]) < first + step and last - step < int(rows[-1]) <= last
