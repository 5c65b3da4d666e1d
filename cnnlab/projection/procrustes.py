"""Align one map with another."""

import torch
from torch import Tensor


def procrustes(target: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Align an (N, 2) map with an (N, 2) target by translation, rotation, reflection and scale.

    Returns the aligned map and the residual: the share of the target's variance that is left,
    0 to 1 (Gower 1975).
    """
    center = target.double().mean(0)
    a, b = target.double() - center, y.double() - y.double().mean(0)
    u, s, v = torch.linalg.svd(b.T @ a)
    norm_a, norm_b = (x.square().sum().clamp_min(1e-300) for x in (a, b))
    scale = s.sum() / norm_b
    residual = 1 - s.sum() ** 2 / norm_a / norm_b
    return (b @ (u @ v) * scale + center).to(target.dtype), float(residual.clamp(0, 1))
