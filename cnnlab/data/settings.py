"""Settings that every data set and augmentation pipeline has."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What every data set's configuration says beside its source's own keys."""

    validation: float  # how many, or a share below 1
    split_seed: int
    mean: list[float]
    std: list[float]
    light_on_dark: bool


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """What an `augment` configuration holds: operations by name, in order, and their keys."""

    train: dict[str, Any]
    eval: dict[str, Any]
    preview: bool
