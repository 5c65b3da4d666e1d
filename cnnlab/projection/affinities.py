"""t-SNE's affinities P (van der Maaten & Hinton 2008, section 2; sparse as in van der Maaten 2014,
section 4.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

BISECTION_STEPS = 100  # to find a point's precision


@dataclass(frozen=True)
class Affinities:
    """A sparse symmetric (N, N) P that sums to one, in CSR with the row of each entry as well.

    `crow_indices`: (N + 1,) where each row begins.
    """

    crow_indices: Tensor
    row_indices: Tensor
    col_indices: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.crow_indices) - 1

    def to(self, dtype: torch.dtype) -> "Affinities":
        """Return the same with values of another type."""
        return Affinities(
            self.crow_indices, self.row_indices, self.col_indices, self.values.to(dtype)
        )


def conditional_probabilities(sq_distances: Tensor, perplexity: float) -> Tensor:
    """Return (N, k) float64 p(j|i) for (N, k) squared distances to neighbors.

    Each row is a Gaussian whose precision, found by bisection, gives the perplexity 2^H. Raises
    ValueError for a perplexity that k neighbors cannot have.
    """
    if not 1 <= perplexity < sq_distances.shape[1]:
        raise ValueError(
            f"perplexity {perplexity:g} is not possible with {sq_distances.shape[1]} neighbors"
        )
    d = sq_distances.double()
    d = d - d.amin(1, keepdim=True)  # the nearest at 0: the same p, and no row underflows
    scale = d.mean(1, keepdim=True)
    d = d / torch.where(scale > 0, scale, 1)
    low, high = torch.zeros_like(scale), torch.full_like(scale, torch.inf)
    beta, target = torch.ones_like(scale), torch.tensor(perplexity, dtype=torch.float64).log()
    for _ in range(BISECTION_STEPS):
        w = torch.exp(-beta * d)
        total = w.sum(1, keepdim=True)
        H = total.log() + beta * (w * d).sum(1, keepdim=True) / total
        low, high = torch.where(target < H, beta, low), torch.where(target < H, high, beta)
        # Grows without bound where more neighbors than the perplexity are at the least distance:
        # they then share the probability evenly.
        beta = torch.where(high.isinf(), 2 * beta, (low + high) / 2)
    w = torch.exp(-beta * d)
    return w / w.sum(1, keepdim=True)


def joint_probabilities(index: Tensor, p: Tensor) -> Affinities:
    """Return P = (p(j|i) + p(i|j)) / 2N for (N, k) neighbors and their p(j|i)."""
    n, k = index.shape
    i, j = torch.arange(n, device=index.device).repeat_interleave(k), index.flatten()
    values = p.flatten() / (2 * n)
    entries, inverse = torch.cat([i * n + j, j * n + i]).unique(return_inverse=True)
    # At most two terms fall on one entry, and the sum of two does not depend on their order.
    summed = torch.zeros(len(entries), dtype=p.dtype, device=p.device)
    summed.index_add_(0, inverse, values.repeat(2))
    rows, columns = entries // n, entries % n
    starts = torch.zeros(n + 1, dtype=torch.int64, device=p.device)
    starts[1:] = torch.bincount(rows, minlength=n).cumsum(0)
    return Affinities(starts.int(), rows.int(), columns.int(), summed)
