"""Settings of the network that style transfer takes its features from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """configs/stylize.yaml's features and their types."""

    name: Literal["auto", "vgg19", "vgg16", "bundled", "random"]
    weights: str | None
    pool: Literal["max", "average"] | None
