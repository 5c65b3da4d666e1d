"""The settings of `cnnlab lr-find`."""

import math
from dataclasses import dataclass

from cnnlab.tasks.lr_find.command import MIN_CURVE_STEPS


@dataclass(frozen=True, kw_only=True)
class LRFindSettings:
    """The keys that configs/lr_find.yaml has beside train.yaml's."""

    min_lr: float
    max_lr: float
    steps: int
    smoothing: float

    def __post_init__(self) -> None:
        if not 0 < self.min_lr < self.max_lr < math.inf:
            raise ValueError(
                f"lowest must be above 0 and below highest, not {self.min_lr} and {self.max_lr}"
            )
        if self.steps < 2 * MIN_CURVE_STEPS:
            raise ValueError(f"steps must be at least {2 * MIN_CURVE_STEPS}, not {self.steps}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1, not {self.smoothing}")

    def lr_multiplier(self, step: int) -> float:
        """Of a step, from 0, as a multiple of the lowest."""
        return (self.max_lr / self.min_lr) ** (step / (self.steps - 1))
