"""The settings of `cnnlab describe`."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class DescribeSettings:
    """The keys that configs/describe.yaml has beside train.yaml's."""

    what: Literal["network", "conv", "pool", "growth"]
    run: str | None
    layer: str | None
    formulas: bool
    figure: str | None
    json: bool
    shape: dict[str, Any]
    growth: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class GrowthSettings:
    """The keys of `growth`."""

    sizes: list[int]
    depth: int
    kernel_size: int
    units: int

    def __post_init__(self) -> None:
        for key, least in (
            ("depth", self.depth),
            ("extent", self.kernel_size),
            ("units", self.units),
        ):
            if least < 1:
                raise ValueError(f"{key} must be at least 1, not {least}")
        if not self.sizes or min(self.sizes) < self.kernel_size:
            raise ValueError(
                f"sizes must be some, each at least the filters' extent of {self.kernel_size}, not {self.sizes}"
            )

    @property
    def fully_connected_parameters(self) -> list[int]:
        """Parameters of a fully connected layer on the picture, for each size."""
        return [self.units * (n * n * self.depth + 1) for n in self.sizes]

    @property
    def convolutional_parameters(self) -> list[int]:
        """And of a convolutional one, whose filters are the same everywhere."""
        return [self.units * (self.kernel_size**2 * self.depth + 1)] * len(self.sizes)
