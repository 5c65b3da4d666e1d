"""How much a filter looks like something, rather than like the noise that it began as."""

from functools import cache

import torch
from torch import Tensor

NUM_NOISE_FILTERS = 20_000  # filters of noise that one is held against


def spatial_autocorrelation(filters: Tensor) -> Tensor:
    """(K, C, h, w) -> (K,) in 0..1: how alike, or how opposite, weights next to each other are: the mean product of
    neighbours over the mean square (Moran's I about zero, Moran 1950), across and down, the larger in magnitude. 1 for
    stripes and for a chessboard; 0 where all weights are; for white noise the larger the fewer the weights (`noise`).
    Raises ValueError for filters of one pixel, which have no neighbours."""
    height, width = filters.shape[2:]
    if height * width < 2:
        raise ValueError(f"filters of {height}x{width} have no neighbouring weights to compare")
    w = filters.detach().double()
    energy = w.square().mean((1, 2, 3)).clamp(min=1e-300)
    products = [w[..., 1:] * w[..., :-1], w[..., 1:, :] * w[..., :-1, :]]
    ways = [product.mean((1, 2, 3)).abs() / energy for product in products if product.numel()]
    return torch.stack(ways).amax(0).clamp(max=1)


@cache
def noise_autocorrelation(depth: int, height: int, width: int) -> Tensor:
    """(DRAWS,) sorted structure of filters whose weights are independent normal numbers, as untrained ones are."""
    rng, at_once = (
        torch.Generator().manual_seed(0),
        max(1, min(NUM_NOISE_FILTERS, 10**7 // (depth * height * width))),
    )
    sizes = [
        min(at_once, NUM_NOISE_FILTERS - begin) for begin in range(0, NUM_NOISE_FILTERS, at_once)
    ]
    return (
        torch.cat(
            [
                spatial_autocorrelation(torch.randn(n, depth, height, width, generator=rng))
                for n in sizes
            ]
        )
        .sort()
        .values
    )


def noise_p_values(filters: Tensor) -> Tensor:
    """(K, C, h, w) -> (K,) how likely a filter of noise is to have so much structure: a Monte Carlo test's p-value, at
    least 1 / (DRAWS + 1)."""
    null = noise_autocorrelation(*filters.shape[1:])
    return (
        NUM_NOISE_FILTERS - torch.searchsorted(null, spatial_autocorrelation(filters).cpu()) + 1
    ) / (NUM_NOISE_FILTERS + 1)


def is_structured(filters: Tensor, false_discovery_rate: float = 0.05) -> Tensor:
    """(K, C, h, w) -> (K,) which are not noise, such that at most `rate` of those named are expected to be (Benjamini &
    Hochberg 1995)."""
    p = noise_p_values(filters)
    order = p.argsort()
    good = p[order] <= false_discovery_rate * torch.arange(1, len(p) + 1) / len(p)
    count = int(good.nonzero().max()) + 1 if good.any() else 0
    found = torch.zeros(len(p), dtype=torch.bool)
    found[order[:count]] = True
    return found
