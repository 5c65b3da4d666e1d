"""The settings of `cnnlab embed`."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """configs/embed.yaml's keys and their types; a projection's own are checked by its signature."""

    projection: Literal["tsne", "pca"]
    run: str | None
    against: str | None
    checkpoint: str | int
    split: str
    n: int | None
    layer: str | None
    features: str | None
    seed: int
    neighbors: int
    seeds: int
    near_duplicates: float | None
    grid: int
    device: str
    batch_size: int | None
    json: bool
    outputs: str
    tsne: dict[str, Any]
    pca: dict[str, Any]

    def __post_init__(self) -> None:
        least = {"n": (self.n, 5), "batch_size": (self.batch_size, 1), "neighbours": (self.neighbors, 1),
                 "seeds": (self.seeds, 0), "grid": (self.grid, 2)}  # fmt: skip
        for key, (value, low) in least.items():
            if value is not None and value < low:
                raise ValueError(f"{key} must be at least {low}, not {value}")
        if self.grid > 64:
            raise ValueError(
                f"grid must be at most 64, not {self.grid}: places for more take too long to find"
            )
        if self.near_duplicates is not None and not 0 <= self.near_duplicates <= 1:
            raise ValueError(f"twins must be between 0 and 1, not {self.near_duplicates}")
        if self.layer == "pixels" and self.against:
            raise ValueError(
                "pixels are the same for every network: layer=pixels and against= do not go together"
            )
        if self.features and (self.against or self.layer == "pixels"):
            raise ValueError(
                "features= is another network's: against= and layer=pixels do not go with it"
            )
