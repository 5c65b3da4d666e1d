"""Operations that mix two images; their labels are mixed in the same proportion."""

import torch
from torch import Tensor

from cnnlab.data.operation import MixOp

NUM_BETA_QUANTILES = 4096  # resolution of the inverse of the beta distribution


class BetaSampler:
    """Map uniform numbers to numbers distributed as Beta(alpha, alpha), by its quantiles.

    Raises ValueError if alpha is not positive and finite.
    """

    def __init__(self, alpha: float) -> None:
        if not 0 < alpha < float("inf"):
            raise ValueError(f"alpha must be above 0, not {alpha}")
        from scipy.special import betaincinv  # slow to import, rarely needed

        midpoints = (
            torch.arange(NUM_BETA_QUANTILES, dtype=torch.float64) + 0.5
        ) / NUM_BETA_QUANTILES
        self.quantiles = torch.from_numpy(betaincinv(alpha, alpha, midpoints.numpy())).float()

    def __call__(self, u: Tensor) -> Tensor:
        self.quantiles = self.quantiles.to(u.device)
        return self.quantiles[(u * NUM_BETA_QUANTILES).long()]


def mixup(*, alpha: float) -> MixOp:
    """Return mixup: each image is mixed with another one, in proportions from Beta(alpha, alpha)
    (Zhang et al. 2018)."""
    beta = BetaSampler(alpha)

    def apply(x: Tensor, other: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        share = beta(u[:, 0])
        return torch.lerp(other, x, share.view(-1, 1, 1, 1)), share

    return MixOp(1, apply)


def cutmix(*, alpha: float) -> MixOp:
    """Return CutMix: a rectangle of each image is replaced by the same rectangle of another image
    (Yun et al. 2019).

    Its area is from Beta(alpha, alpha), its center uniform; it is clipped at the edges. The share
    of the label is the share of the pixels.
    """
    beta = BetaSampler(alpha)

    def apply(x: Tensor, other: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        n, _, height, width = x.shape
        side = (1 - beta(u[:, 0])).sqrt()
        mask = torch.ones(n, 1, 1, 1, dtype=torch.bool, device=x.device)
        area = torch.ones(n, device=x.device)
        for number, (pixels, shape) in enumerate(
            ((height, (1, 1, -1, 1)), (width, (1, 1, 1, -1))), 1
        ):
            center, half = (u[:, number] * pixels).long(), (side * pixels).long() // 2
            start, end = (center - half).clamp(0, pixels), (center + half).clamp(0, pixels)
            position = torch.arange(pixels, device=x.device).view(shape)
            inside = (position >= start.view(-1, 1, 1, 1)) & (position < end.view(-1, 1, 1, 1))
            mask = mask & inside
            area = area * (end - start)
        return torch.where(mask, other, x), 1 - area / (height * width)

    return MixOp(3, apply)
