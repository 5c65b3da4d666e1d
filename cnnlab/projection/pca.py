"""Exact principal components (Pearson 1901); their signs do not depend on the points' order."""

import torch
from torch import Tensor

from cnnlab.projection.callback import ProjectionCallback
from cnnlab.projection.knn import PointSet


def principal_components(x: Tensor, count: int) -> tuple[Tensor, list[float]]:
    """Return (N, count) coordinates of (N, D) points on their first principal axes.

    Also returns each axis's share of the variance. Axes beyond the D that exist are zeros.
    """
    centered = x.double() - x.double().mean(0)
    if x.shape[1] <= len(x):
        values, vectors = torch.linalg.eigh(centered.T @ centered)
        axes = vectors.flip(1)[:, :count]
        y = centered @ axes
    else:  # the same from the smaller Gram matrix of the points; these axes are not of length 1
        values, vectors = torch.linalg.eigh(centered @ centered.T)
        vectors = vectors.flip(1)[:, :count]
        y = vectors * values.flip(0)[:count].clamp_min(0).sqrt()
        axes = centered.T @ vectors
    y = y * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # largest loading positive
    missing = count - y.shape[1]
    ratios = (values.flip(0)[:count].clamp_min(0) / values.sum().clamp_min(1e-300)).tolist()
    return torch.nn.functional.pad(y, (0, missing)).to(x.dtype), ratios + [0.0] * missing


def pca(
    points: PointSet, initial: Tensor, noise: Tensor, callback: ProjectionCallback | None
) -> tuple[Tensor, dict[str, float]]:
    """Return (N, 2) points on the first two principal axes, and their share of the variance.

    The other arguments are those of every projection, and unused.
    """
    y, ratios = principal_components(points.x, 2)
    return y, {"explained_variance_ratio": sum(ratios)}
