"""Principal components (Pearson 1901), exactly and with signs that do not depend on the points' order."""

import torch
from torch import Tensor

from cnnlab.projection.knn import PointSet
from cnnlab.projection.tsne import ProjectionCallback


def principal_components(x: Tensor, count: int) -> tuple[Tensor, list[float]]:
    """(N, D) points -> (N, count) coordinates on the first axes, zeros on those that D has not; and the share of the
    variance that is along each."""
    centred = x.double() - x.double().mean(0)
    if x.shape[1] <= len(x):
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        axes = vectors.flip(1)[:, :count]
        found = centred @ axes
    else:  # the same from the points' products, of which there are fewer; these axes are not of length 1
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        vectors = vectors.flip(1)[:, :count]
        found, axes = vectors * values.flip(0)[:count].clamp_min(0).sqrt(), centred.T @ vectors
    found = (
        found * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    )  # the largest loading is positive
    missing = count - found.shape[1]
    share = (values.flip(0)[:count].clamp_min(0) / values.sum().clamp_min(1e-300)).tolist()
    return torch.nn.functional.pad(found, (0, missing)).to(x.dtype), share + [0.0] * missing


def pca(
    points: PointSet, begin: Tensor, noise: Tensor, report: ProjectionCallback | None
) -> tuple[Tensor, dict[str, float]]:
    """(N, D) points -> (N, 2) on the first two axes, and the share of the variance that they have."""
    y, share = principal_components(points.x, 2)
    return y, {"variance": sum(share)}
