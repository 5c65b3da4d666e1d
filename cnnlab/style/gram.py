"""Gram matrices of feature maps (Gatys, Ecker & Bethge 2015), and their distance."""

from typing import Any

import torch
from torch import Tensor


def gram_matrix(
    maps: Tensor, num_positions: int | None = None, weights: Tensor | None = None
) -> Tensor:
    """Return F F^T / m (K, K) of feature maps (1, K, H, W), in float32 or better.

    m = HW positions; `num_positions`: the m of the whole image that these maps are a tile of, so
    that the tiles' matrices add up to the whole image's; `weights`: (1, H, W) of the positions
    instead of 1 / m.
    """
    columns = at_least_float32(maps).flatten(2).squeeze(0)
    if weights is not None:
        return MultiplyWeighted.apply(columns, weights.flatten())
    return columns @ columns.T / (num_positions or columns.shape[1])


class MultiplyWeighted(torch.autograd.Function):
    """F (K, m), w (m,) -> F diag(w) F^T (K, K), without a weighted copy of F for the gradient."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(columns, weights)
        return (columns * weights) @ columns.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        columns, weights = ctx.saved_tensors
        return ((gradients[0] + gradients[0].T) @ columns).mul_(weights), None


def at_least_float32(x: Tensor) -> Tensor:
    """Return half-precision tensors as float32, others unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def gram_distance(gram: Tensor, target: Tensor) -> Tensor:
    """Return |G - A|^2, the squared Frobenius distance of two Gram matrices."""
    return (gram - target).square().sum()
