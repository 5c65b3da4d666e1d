"""How much points belong together: t-SNE's P (van der Maaten & Hinton 2008, section 2; sparse as in van der Maaten
2014, section 4.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

BISECTION_STEPS = 100  # of the interval that a point's precision lies in


@dataclass(frozen=True)
class Affinities:
    """A sparse symmetric (N, N) P that sums to one, by rows (CSR): where each row begins, (N + 1,); the row and the
    column of each entry; its value."""

    crow_indices: Tensor
    row_indices: Tensor
    col_indices: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.crow_indices) - 1

    def to(self, dtype: torch.dtype) -> "Affinities":
        return Affinities(
            self.crow_indices, self.row_indices, self.col_indices, self.values.to(dtype)
        )


def conditional_probabilities(sq_distances: Tensor, perplexity: float) -> Tensor:
    """(N, k) squared distances to neighbours -> (N, k) float64 p(j|i), each row a Gaussian's of the precision that
    gives it the perplexity 2^H = `perplexity`, by bisection. Raises ValueError for a perplexity that k neighbours
    cannot have."""
    if not 1 <= perplexity < sq_distances.shape[1]:
        raise ValueError(f"a perplexity of {perplexity:g} from {sq_distances.shape[1]} neighbours")
    d = sq_distances.double()
    d = d - d.amin(
        1, keepdim=True
    )  # the nearest at 0: the same shares, and none of them underflows
    scale = d.mean(1, keepdim=True)
    d = d / torch.where(scale > 0, scale, 1)
    low, high = torch.zeros_like(scale), torch.full_like(scale, torch.inf)
    beta, target = torch.ones_like(scale), torch.tensor(perplexity, dtype=torch.float64).log()
    for _ in range(BISECTION_STEPS):
        w = torch.exp(-beta * d)
        total = w.sum(1, keepdim=True)
        H = total.log() + beta * (w * d).sum(1, keepdim=True) / total
        low, high = torch.where(target < H, beta, low), torch.where(target < H, high, beta)
        # Without end where more neighbours are at the least distance than the perplexity asks for: they share evenly.
        beta = torch.where(high.isinf(), 2 * beta, (low + high) / 2)
    w = torch.exp(-beta * d)
    return w / w.sum(1, keepdim=True)


def joint_probabilities(index: Tensor, p: Tensor) -> Affinities:
    """(N, k) neighbours and p(j|i) -> P = (p(j|i) + p(i|j)) / 2N."""
    n, k = index.shape
    i, j, values = (
        torch.arange(n, device=index.device).repeat_interleave(k),
        index.flatten(),
        p.flatten() / (2 * n),
    )
    places, inverse = torch.cat([i * n + j, j * n + i]).unique(return_inverse=True)
    # Two terms at most fall on one place, and the sum of two does not depend on their order.
    summed = torch.zeros(len(places), dtype=p.dtype, device=p.device).index_add_(
        0, inverse, values.repeat(2)
    )
    rows, columns = places // n, places % n
    starts = torch.zeros(n + 1, dtype=torch.int64, device=p.device)
    starts[1:] = torch.bincount(rows, minlength=n).cumsum(0)
    return Affinities(starts.int(), rows.int(), columns.int(), summed)
