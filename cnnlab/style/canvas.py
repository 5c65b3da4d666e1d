"""The canvas that an image is optimized on: the image, and a margin around it that is cropped.

A network that pads its maps with zeros responds to the border of its input, and the optimizer
answers with lines and colors along it. With a margin that happens outside the image.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.style.scales import Size
from cnnlab.style.torus import resize_wrapped


def canvas_size(size: Size, margin: int) -> Size:
    """Return the size of the canvas of an image of `size`."""
    return size[0] + 2 * margin, size[1] + 2 * margin


def extend_to_canvas(image: Tensor, margin: int) -> Tensor:
    """Return (1, K, H, W) with a margin, into which it is reflected, as often as that needs."""
    if margin == 0:
        return image
    height, width = image.shape[2:]
    rows, columns = (reflected_positions(length, margin) for length in (height, width))
    return image.index_select(2, rows.to(image.device)).index_select(3, columns.to(image.device))


def reflected_positions(length: int, margin: int) -> Tensor:
    """Return the positions 0 ... length - 1, reflected at both ends into a margin."""
    period = max(1, 2 * (length - 1))
    positions = torch.arange(-margin, length + margin) % period
    return torch.where(positions < length, positions, period - positions)


def crop_canvas(canvas: Tensor, margin: int) -> Tensor:
    """Return the image (1, K, H, W) on a canvas."""
    height, width = canvas.shape[2:]
    return canvas[..., margin : height - margin, margin : width - margin]


def resize_canvas(
    canvas: Tensor, size: Size, margin: int, mode: str = "bicubic", *, wrap: bool = False
) -> Tensor:
    """Return the canvas of an image resized to `size`; the margin is as wide as before.

    `wrap`: opposite sides of the image are neighbors, and it has no margin.
    """
    image = crop_canvas(canvas, margin)
    if image.shape[2:] == size:
        return canvas
    if wrap:
        return resize_wrapped(image, size, mode)
    return extend_to_canvas(interpolate(image, size, mode=mode, align_corners=False), margin)
