"""The settings of `cnnlab describe`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cnnlab.core.keys import Key, Settings


@dataclass(frozen=True, kw_only=True)
class DescribeSettings(Settings):
    """The keys that configs/describe.yaml has beside train.yaml's."""

    what: Annotated[
        Literal["network", "conv", "pool", "growth"], Key("network, conv, pool or growth")
    ]
    run: Annotated[
        str | None,
        Key("a run whose network to describe: a folder, or last; null: the network of model="),
    ]
    layer: Annotated[str | None, Key("the formulas of this layer only, e.g. conv_1.conv")]
    formulas: Annotated[bool, Key("the formulas of every layer, with its numbers put in")]
    figure: Annotated[str | None, Key("where to draw the volumes, as .svg and .png; null: nowhere")]
    json: Annotated[bool, Key("print the numbers as JSON instead of text")]
    shape: dict[str, Any]
    growth: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class GrowthSettings(Settings):
    """The keys of `growth`: figure 5-3, a fully connected against a convolutional layer."""

    sizes: Annotated[list[int], Key("of each side of the square images", unit="pixels", minimum=1)]
    depth: Annotated[int, Key("channels of the images", minimum=1)]
    kernel_size: Annotated[int, Key("of each side of the filters", unit="pixels", minimum=1)]
    units: Annotated[int, Key("units of the one layer, filters of the other", minimum=1)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sizes or min(self.sizes) < self.kernel_size:
            raise ValueError(
                f"sizes must be some, each at least kernel_size={self.kernel_size}, "
                f"not {self.sizes}"
            )

    @property
    def fully_connected_parameters(self) -> list[int]:
        """Parameters of a fully connected layer on the image, for each size."""
        return [self.units * (side * side * self.depth + 1) for side in self.sizes]

    @property
    def convolutional_parameters(self) -> list[int]:
        """Parameters of a convolutional layer, for each size: they do not depend on it."""
        return [self.units * (self.kernel_size**2 * self.depth + 1)] * len(self.sizes)
