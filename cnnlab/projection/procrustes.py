"""One map laid over another."""

import torch
from torch import Tensor


def procrustes(target: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """(N, 2) and (N, 2) maps of the same points -> the second one moved, turned, mirrored and scaled to lie on the
    first as well as it can, and what is left: the share of the first one's variance, 0 to 1 (Gower 1975)."""
    middle = target.double().mean(0)
    a, b = target.double() - middle, y.double() - y.double().mean(0)
    u, s, v = torch.linalg.svd(b.T @ a)
    of_a, of_b = (m.square().sum().clamp_min(1e-300) for m in (a, b))
    scale = s.sum() / of_b
    left = 1 - s.sum() ** 2 / of_a / of_b
    return (b @ (u @ v) * scale + middle).to(target.dtype), float(left.clamp(0, 1))
