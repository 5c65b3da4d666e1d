"""The settings of `cnnlab predict`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """configs/predict.yaml's keys and their types."""

    images: list[str]
    run: str
    checkpoint: str | int
    device: str
    top_k: int
    format: Literal["table", "csv", "json"]
    outputs: str

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top must be at least 1, not {self.top_k}")
