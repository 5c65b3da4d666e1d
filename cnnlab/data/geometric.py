"""Operations that move or replace pixels, each image of a batch with its own random numbers."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.data.operation import Op, select_per_image


def crop_windows(x: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the (N, C, *size) windows of (N, C, H, W) images with their upper left corners in (N,)
    rows `top` and columns `left`."""
    n, channels, height, width = x.shape
    planes = torch.arange(n * channels, device=x.device).view(n, channels, 1)
    rows = planes * height + top.view(-1, 1, 1) + torch.arange(size[0], device=x.device)
    # A row of a window is contiguous in memory: copying rows takes a third of the time.
    segments = x.flatten().unfold(0, size[1], 1)
    starts = (rows * width + left.view(-1, 1, 1)).flatten()
    return segments.index_select(0, starts).view(n, channels, *size)


def check_crop_fits(x: Tensor, size: int) -> None:
    """Raise ValueError if a crop is larger than the images."""
    height, width = x.shape[2:]
    if size > min(height, width):
        raise ValueError(f"a crop of {size} pixels does not fit into images of {height}x{width}")


def require_at_least_one(key: str, value: int) -> int:
    """Return `value`. Raises ValueError, naming `key`, if it is below 1."""
    if value < 1:
        raise ValueError(f"{key} must be at least 1, not {value}")
    return value


PaddingMode = Literal["zeros", "reflect"]


def make_padding(padding: int, mode: PaddingMode) -> Callable[[Tensor], Tensor]:
    """Return the function from (N, C, H, W) to (N, C, H + 2 padding, W + 2 padding).

    Raises ValueError for a negative padding.
    """
    if padding < 0:
        raise ValueError(f"padding must be at least 0, not {padding}")
    if padding and mode == "reflect":
        return lambda x: reflect_pad(x, padding)
    return lambda x: F.pad(x, (padding,) * 4) if padding else x


def crop(*, size: int, padding: int, mode: PaddingMode) -> Op:
    """Return the operation that crops a square of `size` pixels at a uniformly random position, as
    torchvision's RandomCrop does.

    Images are padded before by `padding` pixels: zeros, or their reflection.
    """
    require_at_least_one("size", size)
    pad = make_padding(padding, mode)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        x = pad(x)
        check_crop_fits(x, size)
        top, left = ((u[:, dim - 2] * (x.shape[dim] - size + 1)).long() for dim in (2, 3))
        return crop_windows(x, top, left, (size, size))

    return Op(2, apply, supports_uint8=True, keeps_shape=False)


def reflect_pad(x: Tensor, padding: int) -> Tensor:
    """Return images of any type padded by reflection, without repeating the outermost pixel.

    Raises ValueError if `padding` is not below the images' size.
    """
    for dim in (2, 3):
        size = x.shape[dim]
        if padding >= size:
            raise ValueError(
                f"padding must be below the images' {size} pixels to reflect, not {padding}"
            )
        index = torch.arange(-padding, size + padding, device=x.device).abs()
        x = x.index_select(dim, torch.where(index < size, index, 2 * (size - 1) - index))
    return x


def center_crop(*, size: int) -> Op:
    """Return the operation that crops the central square of `size` pixels, as TensorFlow does.

    Where the margins are odd, it is half a pixel up and left of the center.
    """
    require_at_least_one("size", size)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        check_crop_fits(x, size)
        top, left = ((pixels - size) // 2 for pixels in x.shape[2:])
        return x[:, :, top : top + size, left : left + size]

    return Op(0, apply, supports_uint8=True, keeps_shape=False)


def views(*, size: int, padding: int, mode: PaddingMode, grid: int, mirror: bool) -> Op:
    """Return the operation that makes `grid` x `grid` evenly spaced crops of `size` pixels of each
    image, and as many mirrored ones with `mirror`, after padding as in `crop`.

    (N, C, H, W) becomes (N * views, C, size, size), the views of an image next to each other. To
    evaluate, average their probabilities (Krizhevsky et al. 2012, section 4.1).
    """
    require_at_least_one("size", size)
    require_at_least_one("grid", grid)
    pad = make_padding(padding, mode)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        x = pad(x)
        check_crop_fits(x, size)
        tops, lefts = (compute_crop_offsets(pixels - size, grid) for pixels in x.shape[2:])
        crops = [x[:, :, i : i + size, j : j + size] for i in tops for j in lefts]
        stacked = torch.stack(crops, 1)
        stacked = torch.cat((stacked, stacked.flip(4)), 1) if mirror else stacked
        return stacked.flatten(0, 1)

    num_views, center = grid * grid * (2 if mirror else 1), grid * grid // 2
    return Op(
        0, apply, supports_uint8=True, keeps_shape=False, num_views=num_views, center_view=center
    )


def compute_crop_offsets(margin: int, grid: int) -> list[int]:
    """Return `grid` evenly spaced integers from 0 to `margin`; `margin` // 2 for a grid of 1."""
    return [margin // 2] if grid == 1 else [round(i * margin / (grid - 1)) for i in range(grid)]


def shift(*, px: int) -> Op:
    """Return the operation that shifts each image by uniform integers of -px..px pixels vertically
    and horizontally, filled with zeros."""
    if px < 0:
        raise ValueError(f"px must be at least 0, not {px}")

    def apply(x: Tensor, u: Tensor) -> Tensor:
        top, left = (u * (2 * px + 1)).long().unbind(1)
        return crop_windows(F.pad(x, (px,) * 4), top, left, (x.shape[2], x.shape[3]))

    return Op(2, apply, supports_uint8=True)


def flip_left_right() -> Op:
    """Return the operation that mirrors images left to right."""
    return Op(0, lambda x, u: x.flip(3), supports_uint8=True)


def flip_up_down() -> Op:
    """Return the operation that mirrors images top to bottom."""
    return Op(0, lambda x, u: x.flip(2), supports_uint8=True)


def transpose() -> Op:
    """Return the operation that exchanges rows and columns of square images."""

    def apply(x: Tensor, u: Tensor) -> Tensor:
        if x.shape[2] != x.shape[3]:
            raise ValueError(f"transpose takes square images, not {x.shape[2]}x{x.shape[3]}")
        return x.transpose(2, 3)

    return Op(0, apply, supports_uint8=True)


def alternating_flip() -> Op:
    """Return the operation that mirrors each image left to right in every other epoch, half of the
    images in the first (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.6)."""

    def apply(x: Tensor, u: Tensor) -> Tensor:
        return select_per_image(u[:, 0] < 0.5, x.flip(3), x)

    return Op(1, apply, supports_uint8=True, is_alternating=True)


def cutout(*, size: int, fill: float) -> Op:
    """Return the operation that sets a square of `size` pixels around a uniformly random pixel to
    `fill` in every channel, clipped at the edges (DeVries & Taylor 2017, who fill with the mean).

    `fill`: 0 (black) to 1 (white), rounded to one of 256 levels.
    """
    require_at_least_one("size", size)
    if not 0 <= fill <= 1:
        raise ValueError(f"fill must be between 0 and 1, not {fill}")
    level = round(255 * fill)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        mask = torch.ones(len(x), 1, 1, 1, dtype=torch.bool, device=x.device)
        for dim, shape in ((2, (1, 1, -1, 1)), (3, (1, 1, 1, -1))):
            start = (u[:, dim - 2] * x.shape[dim]).long().view(-1, 1, 1, 1) - size // 2
            position = torch.arange(x.shape[dim], device=x.device).view(shape)
            mask = mask & (position >= start) & (position < start + size)
        return x.masked_fill(mask, level if x.dtype == torch.uint8 else level / 255)

    return Op(2, apply, supports_uint8=True)


def affine(*, degrees: float, scale: float, shear: float, px: float) -> Op:
    """Return the operation that applies a random affine map to each image, bilinear, filled with
    zeros.

    It rotates by up to `degrees` either way, scales up or down by a factor of up to 1 + `scale`,
    shears by a slope of up to `shear` and shifts by up to `px` pixels either way. Angle, slope,
    shift and the logarithm of the scale are uniform.
    """
    if not all(limit >= 0 for limit in (degrees, scale, shear, px)):
        raise ValueError("degrees, scale, shear and px must be at least 0")

    def apply(x: Tensor, u: Tensor) -> Tensor:
        u_angle, u_scale, u_shear, u_y, u_x = (2 * u - 1).unbind(1)
        angle, factor = torch.deg2rad(degrees * u_angle), (1 + scale) ** u_scale
        cos, sin = factor * angle.cos(), factor * angle.sin()
        # theta maps output coordinates to input coordinates, both in [-1, 1].
        first_row = (cos, u_shear * shear * cos - sin, 2 * px / x.shape[3] * u_x)
        second_row = (sin, u_shear * shear * sin + cos, 2 * px / x.shape[2] * u_y)
        theta = torch.stack((*first_row, *second_row), 1).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    return Op(5, apply)
