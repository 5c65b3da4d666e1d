"""The settings of `cnnlab visualize`."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class VisualizeSettings:
    """configs/visualize.yaml's keys and their types; a visualizer's own are checked by its signature."""

    what: list[str]
    run: str
    checkpoint: str | int
    split: Literal["test", "validation", "train"]
    indices: list[int] | None
    images: list[str]
    seed: int
    device: str
    batch_size: int | None
    json: bool
    outputs: str
    filters: dict[str, Any]
    feature_maps: dict[str, Any]
    top_activations: dict[str, Any]
    saliency: dict[str, Any]
    activation_maximization: dict[str, Any]
    invariance: dict[str, Any]

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.indices == []:
            raise ValueError("indices is empty; null draws some by the seed")
        if self.indices is not None and self.images:
            raise ValueError(
                "indices are of the data set, pictures are files of your own: one of them"
            )
