"""Nearest neighbours, exactly: all distances, a block of rows at a time, on the points' device."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

MAX_BLOCK_ELEMENTS = 2**24  # numbers that a block of distances has at most


def split_rows(rows: Tensor, columns: int) -> list[Tensor]:
    """Indices in parts, such that a part's distances to so many points fit a block."""
    return list(rows.split(max(1, MAX_BLOCK_ELEMENTS // max(1, columns))))


def squared_distances(x: Tensor, candidates: Tensor) -> Tensor:
    """(N, D) and (M, D) -> (N, M) squared Euclidean distances, by |a|^2 - 2ab + |b|^2: small ones have few digits."""
    products = torch.addmm(candidates.square().sum(1), x, candidates.T, alpha=-2)
    return products.add_(x.square().sum(1, keepdim=True)).clamp_min_(0)


def find_neighbors(x: Tensor, k: int, candidates: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(N, D) points -> (N, k) squared distances to the nearest `among` (M, D), in rising order, and (N, k) which they
    are. Without `among`: to the nearest of the others. Raises ValueError where there are not k."""
    others = x if candidates is None else candidates
    most = len(others) - (candidates is None)
    if not 0 < k <= most:
        raise ValueError(f"{k} neighbours of {most} points")
    middle = others.mean(0)
    x, others = x - middle, others - middle
    found = []
    for rows in split_rows(torch.arange(len(x), device=x.device), len(others)):
        d = squared_distances(x[rows], others)
        if candidates is None:
            d[torch.arange(len(rows), device=x.device), rows] = torch.inf
        found.append(d.topk(k, largest=False))
    return torch.cat([d for d, _ in found]), torch.cat([index for _, index in found])


def count_duplicates(x: Tensor) -> int:
    """How many of (N, D) points are another one again. Each is told by the sum of its coordinates, each times a number
    drawn for it: equal points have equal sums, others hardly ever."""
    drawn = torch.randn(
        x.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).to(x.device)
    sums = torch.cat(
        [(part * drawn).sum(1) for part in x.split(max(1, MAX_BLOCK_ELEMENTS // x.shape[1]))]
    )
    return len(x) - len(sums.unique())


@dataclass
class PointSet:
    """(N, D) points, and the neighbours of each among the others, as many as were asked for at most so far."""

    x: Tensor
    cached_neighbors: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.x)

    def kneighbors(self, k: int) -> tuple[Tensor, Tensor]:
        """(N, k) squared distances and indices, nearest first."""
        if self.cached_neighbors is None or self.cached_neighbors[0].shape[1] < k:
            self.cached_neighbors = find_neighbors(self.x, k)
        return self.cached_neighbors[0][:, :k], self.cached_neighbors[1][:, :k]
