"""What an operation on a batch of images is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Op:
    """(N, C, H, W) float images in [0, 1], which may be overwritten, and (N, `numbers`) uniform numbers in [0, 1)
    -> changed images."""

    num_draws: int
    apply: Callable[[Tensor, Tensor], Tensor]
    supports_uint8: bool = (
        False  # only moves or replaces pixels: uint8 images as well, with the same outcome
    )
    keeps_shape: bool = True  # can be left out for some images of a batch: keeps the shape
    is_alternating: bool = False  # its one number is not drawn anew but turns by a half each epoch
    num_views: int = 1  # images that each becomes
    center_view: int = 0  # and which of them is the least moved


@dataclass(frozen=True)
class MixOp:
    """(N, C, H, W) images, (N, C, H, W) others and (N, `numbers`) uniform numbers -> images made of both, and the
    (N,) shares of the first in them."""

    num_draws: int
    apply: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def select_per_image(chosen: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """The images of `x` where (N,) `chosen` is true, else those of `other`, copied whole: `torch.where` goes pixel by
    pixel, and takes a CPU four times as long."""
    at = torch.arange(len(x), device=x.device) + len(x) * ~chosen
    return torch.cat((x, other)).index_select(0, at)


def as_float(x: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]; float ones as they are."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def as_uint8(x: Tensor) -> Tensor:
    """Images as uint8, rounded to the nearest of 256 levels."""
    return x if x.dtype == torch.uint8 else x.mul(255).round_().clamp_(0, 255).to(torch.uint8)
