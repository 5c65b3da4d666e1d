"""The types of operations on a batch of images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Op:
    """An operation on single images.

    `apply` takes (N, C, H, W) float images in [0, 1], which it may overwrite, and (N, `num_draws`)
    uniform numbers in [0, 1), and returns the changed images.
    """

    num_draws: int
    apply: Callable[[Tensor, Tensor], Tensor]
    supports_uint8: bool = False  # takes uint8 images as well, with the same result
    keeps_shape: bool = True  # may be applied to only some images of a batch
    is_alternating: bool = False  # its number changes by 0.5 each epoch and is not drawn again
    num_views: int = 1  # images that each image becomes
    center_view: int = 0  # the index of the view nearest to the center
    draws_on_cpu: bool = False  # takes its numbers on the CPU, wherever the images are


@dataclass(frozen=True)
class MixOp:
    """An operation on pairs of images.

    `apply` takes (N, C, H, W) images, (N, C, H, W) others and (N, `num_draws`) uniform numbers, and
    returns the mixed images and the (N,) shares of the first image in them.
    """

    num_draws: int
    apply: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def select_per_image(mask: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """Return the images of `x` where (N,) `mask` is true, else those of `other`."""
    # Copies whole images: `torch.where` selects pixel by pixel, 4 times slower on a CPU.
    index = torch.arange(len(x), device=x.device) + len(x) * ~mask
    return torch.cat((x, other)).index_select(0, index)


def as_float(x: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]; float images unchanged."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def as_uint8(x: Tensor) -> Tensor:
    """Return images as uint8, rounded to the nearest of 256 levels."""
    return x if x.dtype == torch.uint8 else x.mul(255).round_().clamp_(0, 255).to(torch.uint8)
