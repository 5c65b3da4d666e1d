"""The settings of `cnnlab lr-find`."""

from dataclasses import dataclass
from typing import Annotated

from cnnlab.core.keys import Key, Settings

MIN_CURVE_STEPS = 10  # steps that a curve can be judged by


@dataclass(frozen=True, kw_only=True)
class LRFindSettings(Settings):
    """The keys that configs/lr_find.yaml has beside train.yaml's."""

    min_lr: Annotated[float, Key("learning rate of the first step", above=0)]
    max_lr: Annotated[float, Key("learning rate of the last step", above=0)]
    steps: Annotated[
        int,
        Key(
            "at most; it stops when the loss is 4 times its best",
            unit="steps",
            minimum=2 * MIN_CURVE_STEPS,
        ),
    ]
    smoothing: Annotated[
        float, Key("weight of the past in the moving average of the loss", minimum=0, below=1)
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.min_lr < self.max_lr:
            raise ValueError(f"min_lr must be below max_lr, not {self.min_lr} and {self.max_lr}")

    def lr_multiplier(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0, as a multiple of min_lr."""
        return (self.max_lr / self.min_lr) ** (step / (self.steps - 1))
