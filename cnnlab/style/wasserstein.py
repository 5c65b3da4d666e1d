"""The Wasserstein-2 distance between the features of two images, each taken as a Gaussian.

Squared, with means m, n and covariances S, T (Olkin & Pukelsheim 1982):
|m - n|^2 + tr(S + T - 2 (T^1/2 S T^1/2)^1/2).
Unlike the distance of Gram matrices it grows with the square of a deviation, not of a variance:
rare, strong features do not dominate it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cnnlab.style.gram import at_least_float32, gram_matrix

EIGENVALUE_FLOOR = 1e-9  # under the root in the gradient, relative to the square of tr T


def moment_matrix(
    maps: Tensor, num_positions: int | None = None, weights: Tensor | None = None
) -> Tensor:
    """Return E[f f^T] (K + 1, K + 1) of feature maps (1, K, H, W) with a constant 1 as last
    feature, in float32 or better: the Gram matrix with the mean beside it.

    `num_positions`: those of the whole image that these maps are a tile of, so that the tiles'
    matrices add up to the whole image's; `weights`: (1, H, W) of the positions instead.
    """
    columns = at_least_float32(maps).flatten(2).squeeze(0)
    if weights is None:
        count = num_positions or columns.shape[1]
        share = columns.new_full((1, 1), columns.shape[1] / count)
        mean = columns.sum(1, keepdim=True) / count  # a tile may have no positions of a deep layer
    else:
        share = weights.sum().view(1, 1)
        mean = columns @ weights.reshape(-1, 1)
    gram = gram_matrix(maps, num_positions, weights)
    return torch.cat([torch.cat([gram, mean], 1), torch.cat([mean.T, share], 1)])


def split_moments(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (K,) and the covariance (K, K) of a moment matrix (K + 1, K + 1)."""
    mean = moments[-1, :-1]
    return mean, moments[:-1, :-1] - torch.outer(mean, mean)


def wasserstein_distance(moments: Tensor, target: Tensor) -> Tensor:
    """Return the squared Wasserstein-2 distance of the Gaussians of two moment matrices."""
    return distance_from_gaussian(target)(moments)


def distance_from_gaussian(target: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a differentiable function: a moment matrix -> its distance from a target's Gaussian.

    It computes in float64: the distance is a difference of traces that may be nearly equal.
    """
    target_mean, target_covariance = split_moments(to_float64(target))
    target_root, target_trace = matrix_root(target_covariance), target_covariance.trace()

    def distance(moments: Tensor) -> Tensor:
        mean, covariance = split_moments(to_float64(moments))
        root_trace = RootTrace.apply(covariance, target_root)
        traces = covariance.trace() + target_trace
        return ((mean - target_mean).square().sum() + traces - 2 * root_trace).to(moments)

    return distance


def to_float64(x: Tensor) -> Tensor:
    """Return a tensor in float64, which Apple's GPUs lack: on the CPU there."""
    return x.cpu().double() if x.device.type == "mps" else x.double()


def matrix_root(matrix: Tensor) -> Tensor:
    """Return the square root of a symmetric matrix; eigenvalues below 0 count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


class RootTrace(torch.autograd.Function):
    """S, T^1/2 -> tr (T^1/2 S T^1/2)^1/2 of covariances S and T.

    The gradient with respect to S is T^1/2 A^-1/2 T^1/2 / 2 with A = T^1/2 S T^1/2. The eigenvalues
    of A are floored there: maps have fewer directions than channels, and A no inverse.
    """

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, target_root: Tensor) -> Tensor:
        matrix = target_root @ covariance @ target_root
        is_finite = matrix.isfinite().all()
        values, vectors = torch.linalg.eigh(torch.nan_to_num(matrix, 0, 0, 0))
        values = torch.where(is_finite, values, torch.nan)  # eigh itself raises
        floor = EIGENVALUE_FLOOR * target_root.square().sum().square() + 1e-30
        ctx.save_for_backward(torch.maximum(values, floor), target_root @ vectors)
        return values.clamp(min=0).sqrt().sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        floored_values, projected = ctx.saved_tensors
        return gradients[0] / 2 * (projected * floored_values.rsqrt()) @ projected.T, None
