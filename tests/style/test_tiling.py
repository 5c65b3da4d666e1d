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
@pytest.mark.parametrize("max_pixels", [1, 3000, 10_000, 1 << 40])
def test_tiles_cover_each_position_once_with_enough_margin(
    size: tuple[int, int], max_pixels: int
) -> None:
    radius, alignment = 20, 8
    tiles = make_tiles(size, max_pixels, radius, alignment)
    pixels = torch.arange(size[0] * size[1]).view(1, 1, *size)
    for step in (1, 2, 4, 8):
        expected = pixels[..., : size[0] // step * step : step, : size[1] // step * step : step]
        coverage = torch.zeros_like(expected)
        for tile in tiles:
            crop = tile.crop(pixels)
            height, width = (side // step * step for side in crop.shape[2:])
            inner = tile.crop_valid(crop[..., :height:step, :width:step], step)
            assert torch.equal(inner, tile.crop_whole_maps(expected, step))
            tile.crop_whole_maps(coverage, step).add_(1)
        assert bool((coverage == 1).all())
    min_pixels = 1
    for length in size:
        # The smallest tile, with a radius of 20 rounded up to 24.
        min_pixels *= min(length, alignment + 2 * 24)
    for tile in tiles:
        assert tile.crop(pixels)[0, 0].numel() <= max(max_pixels, min_pixels)
        for length, (outer, inner) in zip(size, (tile.rows, tile.columns), strict=True):
            assert outer.start % alignment == 0 and inner.start % alignment == 0
            assert outer.start == 0 or inner.start - outer.start >= radius
            assert outer.stop is None or outer.stop - (inner.stop or length) >= radius


def test_receptive_radius_equals_gradient_support() -> None:
    """The support of the gradient of one position of each layer's maps."""
    encoder = VGGFeatures(
        {k: v.abs() for k, v in init_random_vgg(DEEP, torch.Generator().manual_seed(0)).items()},
        TORCHVISION_CONVENTION,
    )
    for name in encoder.relu_names:
        x = torch.full((1, 3, 96, 96), 0.5, requires_grad=True)
        maps = encoder(x, [name])[name]
        center = maps.shape[2] // 2
        (gradient,) = torch.autograd.grad(maps[0, :, center, center].sum(), x)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        step = relu_stride(name)
        first, last = (
            center * step - encoder.receptive_radius([name]),
            (center + 1) * step - 1 + encoder.receptive_radius([name]),
        )
        # Max pooling has a gradient at one of its pixels: the support may be a stride smaller.
        assert first <= int(rows[0]) < first + step and last - step < int(rows[-1]) <= last
