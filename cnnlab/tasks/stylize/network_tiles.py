"""Apply a style network to an image of any size, in tiles where it is too large for one pass.

A normalization takes its statistics from the whole image: they are summed over the tiles, one
normalization after the other, before the tiles are stylized. Nothing is approximated.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.models.style_network import STRIDE, InstanceNorm, StyleNetwork, pad_to_stride
from cnnlab.style.tiled_loss import spatial_size
from cnnlab.style.tiling import Tile, make_tiles


class Captured(Exception):
    """Ends a forward pass at a normalization; `maps` are what it would normalize."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps


@torch.inference_mode()
def apply_style_network(
    network: StyleNetwork,
    image: Tensor,
    max_tile_pixels: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Return the stylized image of (1, 3, H, W) in 0..1, in the same shape.

    `max_tile_pixels`: the most in one pass, with margins; `report`: is called with the number of
    passes over all tiles, so far and in all. Raises ValueError for an image that is too small.
    """
    height, width = image.shape[2:]
    padded = pad_to_stride(image)
    tiles = make_tiles(spatial_size(padded), max_tile_pixels, network.receptive_radius, STRIDE)
    if len(tiles) == 1:
        return network(image)
    norms = network.norms
    try:
        for number, norm in enumerate(norms):
            report(number, len(norms) + 1)
            norm.statistics = measure_whole_image(network, norm, padded, tiles)
        report(len(norms), len(norms) + 1)
        output = torch.empty_like(padded)
        for tile in tiles:
            stylized = tile.crop_valid(network(tile.crop(padded)), 1)
            tile.crop_whole_maps(output, 1).copy_(stylized)
    finally:
        for norm in norms:
            norm.statistics = None
    return output[..., :height, :width]


def measure_whole_image(
    network: StyleNetwork, norm: InstanceNorm, image: Tensor, tiles: list[Tile]
) -> tuple[Tensor, Tensor]:
    """Return mean and variance (K,) of what a normalization is given of the whole image.

    The normalizations before it have their statistics. Sums are float64.
    """
    totals = torch.zeros(2, norm.num_features, dtype=torch.float64)
    count = 0
    shift: Tensor | None = None  # near the mean, so that no difference of large sums is taken
    for tile in tiles:
        crop = tile.crop(image)
        maps = capture_input(network, norm, crop)
        valid = tile.crop_valid(maps, crop.shape[3] // maps.shape[3])[0].flatten(1)
        shift = valid.mean(1, keepdim=True) if shift is None else shift
        deviations = valid - shift
        sums = torch.stack([deviations.double().sum(1), deviations.square().double().sum(1)])
        totals += sums.cpu()
        count += valid.shape[1]
    assert shift is not None
    mean, square = totals / count
    variance = (square - mean.square()).clamp(min=0)
    return shift.flatten() + mean.to(shift), variance.to(shift)


def capture_input(network: StyleNetwork, norm: InstanceNorm, x: Tensor) -> Tensor:
    """Return what a normalization is given, (1, K, h, w); nothing after it is computed."""

    def stop(module: nn.Module, inputs: Any) -> None:
        raise Captured(inputs[0])

    handle = norm.register_forward_pre_hook(stop)
    try:
        network(x)
    except Captured as captured:
        return captured.maps
    finally:
        handle.remove()
    raise AssertionError("the network does not use this normalization")
