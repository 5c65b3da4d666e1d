"""Operations that move pixels, or replace them: each image of a batch by numbers of its own."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.data.operation import Op, as_uint8, select_per_image


def crop_windows(x: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """From (N, C, H, W) images the (N, C, *size) cuts whose upper left corners are at (N,) rows and columns."""
    n, channels, height, width = x.shape
    planes = torch.arange(n * channels, device=x.device).view(n, channels, 1)
    rows = planes * height + top.view(-1, 1, 1) + torch.arange(size[0], device=x.device)
    # Each row of a cut is a piece of the images' memory: copied whole, it takes a third of the time.
    pieces = x.flatten().unfold(0, size[1], 1)
    return pieces.index_select(0, (rows * width + left.view(-1, 1, 1)).flatten()).view(
        n, channels, *size
    )


def check_crop_fits(x: Tensor, size: int) -> None:
    """Raises ValueError where a crop is larger than the images."""
    height, width = x.shape[2:]
    if size > min(height, width):
        raise ValueError(f"a crop of {size} pixels does not fit into images of {height}x{width}")


def require_at_least_one(key: str, value: int) -> int:
    """Raises ValueError for a size that is none."""
    if value < 1:
        raise ValueError(f"{key} must be at least 1, not {value}")
    return value


PaddingMode = Literal["zeros", "reflect"]


def make_padding(padding: int, mode: PaddingMode) -> Callable[[Tensor], Tensor]:
    """(N, C, H, W) -> (N, C, H + 2 padding, W + 2 padding). Raises ValueError for a negative padding."""
    if padding < 0:
        raise ValueError(f"padding must be at least 0, not {padding}")
    if padding and mode == "reflect":
        return lambda x: reflect_pad(x, padding)
    return lambda x: F.pad(x, (padding,) * 4) if padding else x


def crop(*, size: int, padding: int, mode: PaddingMode) -> Op:
    """A square of `size` pixels from anywhere in each image, all places equally likely, after `padding` pixels of
    zeros, or of the image mirrored, are put around it. torchvision's RandomCrop."""
    require_at_least_one("size", size)
    border = make_padding(padding, mode)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        x = border(x)
        check_crop_fits(x, size)
        top, left = ((u[:, dim - 2] * (x.shape[dim] - size + 1)).long() for dim in (2, 3))
        return crop_windows(x, top, left, (size, size))

    return Op(2, apply, supports_uint8=True, keeps_shape=False)


def reflect_pad(x: Tensor, padding: int) -> Tensor:
    """Images of any type with their mirrored edges around them, the outermost pixel not repeated."""
    for dim in (2, 3):
        size = x.shape[dim]
        if padding >= size:
            raise ValueError(
                f"padding must be below the images' {size} pixels to reflect, not {padding}"
            )
        at = torch.arange(-padding, size + padding, device=x.device).abs()
        x = x.index_select(dim, torch.where(at < size, at, 2 * (size - 1) - at))
    return x


def center_crop(*, size: int) -> Op:
    """The square of `size` pixels in the middle; up and left of it where the margins are odd (TensorFlow's)."""
    require_at_least_one("size", size)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        check_crop_fits(x, size)
        top, left = ((pixels - size) // 2 for pixels in x.shape[2:])
        return x[:, :, top : top + size, left : left + size]

    return Op(0, apply, supports_uint8=True, keeps_shape=False)


def views(*, size: int, padding: int, mode: PaddingMode, grid: int, mirror: bool) -> Op:
    """Every image `grid` x `grid` times (twice that where mirrored too), as squares of `size` pixels at even
    distances, after a border as `crop` has it, an image's views side by side: (N, C, H, W) -> (N * views, C, size,
    size). To be judged by the mean of the probabilities (Krizhevsky et al. 2012, section 4.1)."""
    require_at_least_one("size", size)
    require_at_least_one("grid", grid)
    border = make_padding(padding, mode)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        x = border(x)
        check_crop_fits(x, size)
        tops, lefts = (compute_crop_offsets(pixels - size, grid) for pixels in x.shape[2:])
        cuts = torch.stack([x[:, :, t : t + size, s : s + size] for t in tops for s in lefts], 1)
        cuts = torch.cat((cuts, cuts.flip(4)), 1) if mirror else cuts
        return cuts.flatten(0, 1)

    count = grid * grid * (2 if mirror else 1)
    return Op(
        0,
        apply,
        supports_uint8=True,
        keeps_shape=False,
        num_views=count,
        center_view=grid * grid // 2,
    )


def compute_crop_offsets(room: int, grid: int) -> list[int]:
    """`grid` whole numbers at even distances from 0 to `room`; the middle for one."""
    return [room // 2] if grid == 1 else [round(i * room / (grid - 1)) for i in range(grid)]


def shift(*, px: int) -> Op:
    """Each image moved by a whole number of pixels, -px..px down and across, all equally likely; zeros come in."""
    if px < 0:
        raise ValueError(f"px must be at least 0, not {px}")

    def apply(x: Tensor, u: Tensor) -> Tensor:
        top, left = (u * (2 * px + 1)).long().unbind(1)
        return crop_windows(F.pad(x, (px,) * 4), top, left, (x.shape[2], x.shape[3]))

    return Op(2, apply, supports_uint8=True)


def flip_left_right() -> Op:
    """Mirrored left to right; at random with `probability`."""
    return Op(0, lambda x, u: x.flip(3), supports_uint8=True)


def flip_up_down() -> Op:
    """Upside down; at random with `probability`."""
    return Op(0, lambda x, u: x.flip(2), supports_uint8=True)


def transpose() -> Op:
    """Rows and columns exchanged; square images only."""

    def apply(x: Tensor, u: Tensor) -> Tensor:
        if x.shape[2] != x.shape[3]:
            raise ValueError(f"transpose takes square images, not {x.shape[2]}x{x.shape[3]}")
        return x.transpose(2, 3)

    return Op(0, apply, supports_uint8=True)


def alternating_flip() -> Op:
    """Each image mirrored left to right in every other epoch, half of them in the first: in two epochs the network
    sees both sides of all (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.6)."""
    return Op(
        1,
        lambda x, u: select_per_image(u[:, 0] < 0.5, x.flip(3), x),
        supports_uint8=True,
        is_alternating=True,
    )


def cutout(*, size: int, fill: float) -> Op:
    """A square of `size` pixels around any pixel, cut off at the edges, set to `fill` in every channel (DeVries &
    Taylor 2017, whose fill is the mean); 0 is black and 1 white, rounded to one of 256 levels."""
    require_at_least_one("size", size)
    if not 0 <= fill <= 1:
        raise ValueError(f"fill must be between 0 and 1, not {fill}")
    level = round(255 * fill)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        hole = torch.ones(len(x), 1, 1, 1, dtype=torch.bool, device=x.device)
        for dim in (2, 3):
            first = (u[:, dim - 2] * x.shape[dim]).long().view(-1, 1, 1, 1) - size // 2
            at = torch.arange(x.shape[dim], device=x.device).view(
                (1, 1, -1, 1) if dim == 2 else (1, 1, 1, -1)
            )
            hole = hole & (at >= first) & (at < first + size)
        return x.masked_fill(hole, level if x.dtype == torch.uint8 else level / 255)

    return Op(2, apply, supports_uint8=True)


def affine(*, degrees: float, scale: float, shear: float, px: float) -> Op:
    """Each image turned by up to `degrees`, made larger or smaller by a factor of up to 1 + `scale`, sheared by up
    to `shear` (a slope) and moved by up to `px` pixels each way, all uniform; bilinear, zeros come in."""
    if not all(most >= 0 for most in (degrees, scale, shear, px)):
        raise ValueError("degrees, scale, shear and px must be at least 0")

    def apply(x: Tensor, u: Tensor) -> Tensor:
        turn, grow, lean, down, across = (2 * u - 1).unbind(1)
        angle, factor = torch.deg2rad(degrees * turn), (1 + scale) ** grow
        cos, sin = factor * angle.cos(), factor * angle.sin()
        # theta maps an output place to the input place it is read from, both in [-1, 1].
        theta = torch.stack(
            (cos, lean * shear * cos - sin, 2 * px / x.shape[3] * across,
             sin, lean * shear * sin + cos, 2 * px / x.shape[2] * down), 1
        ).view(-1, 2, 3)  # fmt: skip
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    return Op(5, apply)


def randaugment(*, num_ops: int, magnitude: int) -> Op:
    """torchvision's RandAugment (Cubuk et al. 2020): `num_ops` of its operations in a row on each image, as strong as
    `magnitude` of 0 to 30 says. One image at a time, each by a seed of its own: slower than all else here."""
    from torchvision.transforms import RandAugment

    transform = RandAugment(require_at_least_one("num_ops", num_ops), magnitude)
    if not 0 <= magnitude < transform.num_magnitude_bins:
        raise ValueError(
            f"magnitude must be at least 0 and below {transform.num_magnitude_bins}, not {magnitude}"
        )

    def apply(x: Tensor, u: Tensor) -> Tensor:
        levels, seeds = as_uint8(x), (u[:, 0] * 2**24).long().tolist()
        done = []
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(levels, seeds, strict=True):
                torch.default_generator.manual_seed(
                    seed
                )  # `torch.manual_seed` would reseed the GPU's for good
                done.append(transform(image))
        changed = torch.stack(done)
        return changed if x.dtype == torch.uint8 else changed.float().div_(255)

    return Op(1, apply, supports_uint8=True)
