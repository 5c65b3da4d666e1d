"""Images whose opposite sides are neighbors, so that they repeat without a seam."""

from math import ceil, gcd

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from cnnlab.style.scales import Size

MIN_WRAPPED_PIXELS = 2  # around an image that is resized: the reach of bicubic interpolation


def convolve_wrapped(conv: nn.Module, x: Tensor) -> Tensor:
    """Return a 3x3 convolution of (N, K, H, W), padded with the opposite sides."""
    x = torch.cat([x[:, :, -1:], x, x[:, :, :1]], 2)  # pad's circular mode is not channels last
    x = torch.cat([x[..., -1:], x, x[..., :1]], 3)
    return conv2d(x, conv.get_parameter("weight"), conv.get_parameter("bias"))


def round_to_stride(size: Size, stride: int) -> Size:
    """Return the nearest size that all maps of a network divide without a remainder."""
    height, width = (max(1, round(side / stride)) * stride for side in size)
    return height, width


def make_periodic(x: Tensor) -> Tensor:
    """Return (1, K, H, W) in 0..1 without the jumps between its opposite sides.

    The periodic component (Moisan 2011, "Periodic plus smooth image decomposition"):
    the image less the smoothest one with the same jumps, clamped to 0..1.
    """
    u = x.double()
    jumps = torch.zeros_like(u)
    for dim in (2, 3):
        last = u.shape[dim] - 1
        jump = u.select(dim, last) - u.select(dim, 0)
        jumps.select(dim, 0).add_(jump)
        jumps.select(dim, last).sub_(jump)
    rows, columns = (
        2 * torch.cos(2 * torch.pi * torch.arange(n, dtype=u.dtype, device=u.device) / n)
        for n in u.shape[2:]
    )
    laplacian = rows[:, None] + columns - 4
    laplacian[0, 0] = 1
    smooth = torch.fft.fft2(jumps) / laplacian
    smooth[..., 0, 0] = 0
    return (u - torch.fft.ifft2(smooth).real).clamp(0, 1).to(x.dtype)


def resize_wrapped(x: Tensor, size: Size, mode: str = "bicubic") -> Tensor:
    """Return (1, K, h, w) interpolated to (H, W), with the opposite sides as neighbors."""
    margins = [wrapped_margins(old, new) for old, new in zip(x.shape[2:], size, strict=True)]
    (top, new_top), (left, new_left) = margins
    canvas = extend_wrapped(x, top, left)
    (height, width), new_size = size, (size[0] + 2 * new_top, size[1] + 2 * new_left)
    is_reduced = new_size[0] < canvas.shape[2] or new_size[1] < canvas.shape[3]
    resized = interpolate(canvas, new_size, mode=mode, align_corners=False, antialias=is_reduced)
    return resized[..., new_top : new_top + height, new_left : new_left + width]


def wrapped_margins(old: int, new: int) -> tuple[int, int]:
    """Return the pixels of a margin before and after resizing, in the proportion of the sides."""
    divisor = gcd(old, new)
    reach = MIN_WRAPPED_PIXELS * max(1, old / new)  # as far as antialiasing reads
    times = ceil(reach * divisor / old)
    return times * old // divisor, times * new // divisor


def extend_wrapped(x: Tensor, top: int, left: int) -> Tensor:
    """Return (1, K, H, W) with rows and columns of the opposite sides around it."""
    height, width = x.shape[2:]
    return take_wrapped(x, range(-top, height + top), range(-left, width + left))


def take_wrapped(x: Tensor, rows: range, columns: range) -> Tensor:
    """Return these rows and columns of (1, K, H, W); positions outside are those wrapped around."""
    for dim, positions in ((2, rows), (3, columns)):
        if positions != range(x.shape[dim]):
            index = torch.arange(positions.start, positions.stop, device=x.device) % x.shape[dim]
            x = x.index_select(dim, index)
    return x


def add_wrapped(x: Tensor, values: Tensor, rows: range, columns: range) -> None:
    """Add values (1, K, h, w) to these rows and columns of (1, K, H, W), in place."""
    for dim, positions in ((3, columns), (2, rows)):
        index = torch.arange(positions.start, positions.stop, device=x.device) % x.shape[dim]
        shape = list(values.shape)
        shape[dim] = x.shape[dim]
        values = values.new_zeros(shape).index_add_(dim, index, values)
    x.add_(values)
