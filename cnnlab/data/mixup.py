"""Operations that make an image of two: their labels are shared out as the images are."""

import torch
from torch import Tensor

from cnnlab.data.operation import MixOp

NUM_BETA_QUANTILES = 4096  # quantiles of the beta distribution that are told apart


class BetaSampler:
    """Uniform numbers -> numbers distributed as Beta(alpha, alpha), by its quantiles in `LEVELS` steps."""

    def __init__(self, alpha: float) -> None:
        if not 0 < alpha < float("inf"):
            raise ValueError(f"alpha must be above 0, not {alpha}")
        from scipy.special import betaincinv  # takes a while, and few need it

        middles = (torch.arange(NUM_BETA_QUANTILES, dtype=torch.float64) + 0.5) / NUM_BETA_QUANTILES
        self.quantiles = torch.from_numpy(betaincinv(alpha, alpha, middles.numpy())).float()

    def __call__(self, u: Tensor) -> Tensor:
        self.quantiles = self.quantiles.to(u.device)
        return self.quantiles[(u * NUM_BETA_QUANTILES).long()]


def mixup(*, alpha: float) -> MixOp:
    """Each image mixed with another, in proportions from Beta(alpha, alpha) (Zhang et al. 2018)."""
    beta = BetaSampler(alpha)

    def apply(x: Tensor, other: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        share = beta(u[:, 0])
        return torch.lerp(other, x, share.view(-1, 1, 1, 1)), share

    return MixOp(1, apply)


def cutmix(*, alpha: float) -> MixOp:
    """A rectangle of another image, in the same place, over each: its area from Beta(alpha, alpha), its middle
    anywhere, cut off at the edges; the label by what is left of the area (Yun et al. 2019)."""
    beta = BetaSampler(alpha)

    def apply(x: Tensor, other: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        n, _, height, width = x.shape
        side = (1 - beta(u[:, 0])).sqrt()
        hole, area = (
            torch.ones(n, 1, 1, 1, dtype=torch.bool, device=x.device),
            torch.ones(n, device=x.device),
        )
        for number, (pixels, shape) in enumerate(
            ((height, (1, 1, -1, 1)), (width, (1, 1, 1, -1))), 1
        ):
            middle, half = (u[:, number] * pixels).long(), (side * pixels).long() // 2
            first, end = (middle - half).clamp(0, pixels), (middle + half).clamp(0, pixels)
            at = torch.arange(pixels, device=x.device).view(shape)
            hole = hole & (at >= first.view(-1, 1, 1, 1)) & (at < end.view(-1, 1, 1, 1))
            area = area * (end - first)
        return torch.where(hole, other, x), 1 - area / (height * width)

    return MixOp(3, apply)
