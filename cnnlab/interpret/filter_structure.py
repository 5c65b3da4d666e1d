"""Measure how much structure a filter has, and test it against filters of noise."""

from functools import cache

import torch
from scipy.stats import false_discovery_control
from torch import Tensor

NUM_NOISE_FILTERS = 20_000  # of the null distribution
MAX_NOISE_WEIGHTS = 10**7  # drawn at a time, to limit memory


def spatial_autocorrelation(filters: Tensor) -> Tensor:
    """Return the spatial autocorrelation of (K, C, h, w) filters, (K,) in 0..1.

    It is the mean product of neighboring weights over the mean square (Moran's I about zero, Moran
    1950), across and down, the larger in magnitude: 1 for stripes and for a chessboard, 0 where all
    weights are 0. Of white noise it is larger the fewer weights there are
    (`noise_autocorrelation`). Raises ValueError for filters of one pixel."""
    height, width = filters.shape[2:]
    if height * width < 2:
        raise ValueError(f"filters of {height}x{width} have no neighboring weights to compare")
    w = filters.detach().double()
    energy = w.square().mean((1, 2, 3)).clamp(min=1e-300)
    products = [w[..., 1:] * w[..., :-1], w[..., 1:, :] * w[..., :-1, :]]
    ways = [product.mean((1, 2, 3)).abs() / energy for product in products if product.numel()]
    return torch.stack(ways).amax(0).clamp(max=1)


@cache
def noise_autocorrelation(depth: int, height: int, width: int) -> Tensor:
    """Return the sorted spatial autocorrelation of NUM_NOISE_FILTERS filters of independent normal
    numbers, as untrained filters are."""
    rng = torch.Generator().manual_seed(0)
    chunk = max(1, min(NUM_NOISE_FILTERS, MAX_NOISE_WEIGHTS // (depth * height * width)))
    sizes = [min(chunk, NUM_NOISE_FILTERS - start) for start in range(0, NUM_NOISE_FILTERS, chunk)]
    parts = [
        spatial_autocorrelation(torch.randn(n, depth, height, width, generator=rng)) for n in sizes
    ]
    return torch.cat(parts).sort().values


def noise_p_values(filters: Tensor) -> Tensor:
    """Return how probable it is that a filter of noise has as much structure as each of (K, C, h,
    w) filters: (K,) p-values of a Monte Carlo test, at least 1 / (NUM_NOISE_FILTERS + 1)."""
    null = noise_autocorrelation(*filters.shape[1:])
    return compute_monte_carlo_p_values(spatial_autocorrelation(filters).cpu(), null)


def compute_monte_carlo_p_values(statistics: Tensor, null: Tensor) -> Tensor:
    """Return (r + 1) / (n + 1) for (K,) statistics, r the number of (n,) sorted `null` values that
    are at least as large (Davison & Hinkley 1997, section 4.2)."""
    n = len(null)
    return (n - torch.searchsorted(null, statistics) + 1) / (n + 1)


def is_structured(filters: Tensor, false_discovery_rate: float = 0.05) -> Tensor:
    """Return which of (K, C, h, w) filters are not noise, (K,), at a false discovery rate
    (Benjamini & Hochberg 1995)."""
    return control_false_discoveries(noise_p_values(filters), false_discovery_rate)


def control_false_discoveries(p_values: Tensor, rate: float) -> Tensor:
    """Return which of (K,) p-values are discoveries at a false discovery rate."""
    return torch.from_numpy(false_discovery_control(p_values.numpy()) <= rate)
