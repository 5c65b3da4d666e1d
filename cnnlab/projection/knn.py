"""Exact nearest neighbors: all distances, a block of rows at a time, on the points' device."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

MAX_BLOCK_ELEMENTS = 2**24  # distances in a block


def split_rows(rows: Tensor, columns: int) -> list[Tensor]:
    """Split indices so that each part's distances to `columns` points fit in a block."""
    return list(rows.split(max(1, MAX_BLOCK_ELEMENTS // max(1, columns))))


def squared_distances(x: Tensor, candidates: Tensor) -> Tensor:
    """Return (N, M) squared Euclidean distances of (N, D) and (M, D) points.

    By |a|^2 - 2ab + |b|^2, so small distances have few correct digits.
    """
    products = torch.addmm(candidates.square().sum(1), x, candidates.T, alpha=-2)
    return products.add_(x.square().sum(1, keepdim=True)).clamp_min_(0)


def find_neighbors(x: Tensor, k: int, candidates: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return (N, k) squared distances and indices of the nearest neighbors of (N, D) points.

    Neighbors are among the (M, D) candidates, nearest first; without candidates, among the other
    points. Raises ValueError where there are fewer than k.
    """
    others = x if candidates is None else candidates
    available = len(others) - (candidates is None)
    if not 0 < k <= available:
        raise ValueError(f"{k} neighbors of {available} points")
    center = others.mean(0)
    x, others = x - center, others - center
    nearest = []
    for rows in split_rows(torch.arange(len(x), device=x.device), len(others)):
        d = squared_distances(x[rows], others)
        if candidates is None:
            d[torch.arange(len(rows), device=x.device), rows] = torch.inf
        nearest.append(d.topk(k, largest=False))
    return torch.cat([d for d, _ in nearest]), torch.cat([index for _, index in nearest])


def count_duplicates(x: Tensor) -> int:
    """Return how many of (N, D) points repeat another one.

    Points are compared by a random projection: equal points have equal projections, and different
    ones almost never do.
    """
    rng = torch.Generator().manual_seed(0)
    weights = torch.randn(x.shape[1], generator=rng, dtype=torch.float64).to(x.device)
    parts = x.split(max(1, MAX_BLOCK_ELEMENTS // x.shape[1]))
    return len(x) - len(torch.cat([(part * weights).sum(1) for part in parts]).unique())


@dataclass
class PointSet:
    """(N, D) points with a cache of their nearest neighbors."""

    x: Tensor
    cached_neighbors: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.x)

    def kneighbors(self, k: int) -> tuple[Tensor, Tensor]:
        """Return (N, k) squared distances and indices, nearest first."""
        if self.cached_neighbors is None or self.cached_neighbors[0].shape[1] < k:
            self.cached_neighbors = find_neighbors(self.x, k)
        return self.cached_neighbors[0][:, :k], self.cached_neighbors[1][:, :k]
