"""The settings of `cnnlab eval`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """configs/eval.yaml's keys and their types."""

    run: str
    checkpoint: str | int
    split: Literal["test", "validation", "train"]
    device: str
    batch_size: int | None
    mistakes: int
    single_batch_size: int | None
    json: bool
    outputs: str

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.mistakes < 0:
            raise ValueError(f"mistakes must be at least 0, not {self.mistakes}")
