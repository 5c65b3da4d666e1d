"""`stylize`'s keys: their types, their limits, and which of them a picture records."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from cnnlab.core.memory import parse_bytes

POSITIVE_KEYS = (
    "size",
    "steps",
    "first_steps",
    "coarsest",
    "max_pixels",
    "piece",
    "threads",
    "log_every",
    "preview_every",
)
# Keys that say where and with what, and not how: they are not recorded, and may be given with --again.
UNRECORDED_KEYS = ("content", "styles", "out", "overwrite", "again", "score", "download", "json", "outputs", "device",
        "max_pixels", "memory_limit", "log_every", "preview_every", "time")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StylizeSettings:
    """configs/stylize.yaml's keys and their types; those of the style, the features and the methods are checked by
    their builders."""

    content: str | None
    styles: list[str]
    style_weights: list[float] | None
    out: str | None
    overwrite: bool
    size: int | None
    time: str | float | None
    steps: int
    first_steps: int
    coarsest: int
    style_scale: float
    color: Literal["style", "content", "matched"]
    start: Literal["content", "noise", "style"]
    total_variation: float
    optimizer: Literal["lbfgs", "adam"]
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int
    device: str
    threads: int | None
    max_pixels: int
    memory_limit: str | float | None
    max_tile_pixels: int | None
    log_every: int
    preview_every: int
    download: bool
    reproduce: str | None
    score: str | None
    json: bool
    outputs: str
    style: dict[str, Any]
    features: dict[str, Any]
    lbfgs: dict[str, Any]
    adam: dict[str, Any]

    def __post_init__(self) -> None:
        for key in POSITIVE_KEYS:
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key} must be at least 1, not {value}")
        if not 0 < self.style_scale < float("inf"):
            raise ValueError(f"style_scale must be above 0, not {self.style_scale}")
        if not 0 <= self.total_variation < float("inf"):
            raise ValueError(f"total_variation must be at least 0, not {self.total_variation}")
        if not 0 <= self.seed < 1 << 40:
            raise ValueError(f"seed must be at least 0 and below 2^40, not {self.seed}")
        weights = self.style_weights
        fit = weights is None or (
            len(weights) == len(self.styles) and min(weights, default=-1) >= 0 < sum(weights)
        )
        if not fit:
            raise ValueError(
                f"style_weights must be {len(self.styles)} numbers, one for each painting, not {weights}"
            )
        if self.time is not None:
            parse_duration(str(self.time))
        if self.memory_limit is not None:
            parse_bytes(str(self.memory_limit))

    @property
    def time_limit_s(self) -> float | None:
        return None if self.time is None else parse_duration(str(self.time))


LOSS_MEANINGS = {
    "relative": (
        "(0: the photograph, 1: nothing of it)",
        "(1: the photograph untouched, 0: the painting)",
    ),
    "chapter": ("(the chapter's sum)", "(the chapter's sum)"),
}
RECORDED_KEYS = tuple(
    field.name for field in fields(StylizeSettings) if field.name not in UNRECORDED_KEYS
)


def parse_duration(text: str) -> float:
    """`90`, `90s`, `1m30s`, `1:30`, `1h` -> seconds. Raises ValueError."""
    if found := re.fullmatch(r"(?:(\d+):)?(\d+):(\d\d)", text):
        parts = [int(part or 0) for part in found.groups()]
    elif found := re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text):
        parts = [float(part or 0) for part in found.groups()]  # type: ignore[misc]
    else:
        parts = [0]
    seconds = sum(part * 60**i for i, part in enumerate(reversed(parts)))
    if not seconds > 0:
        raise ValueError(f"time must be like 30s, 2m, 1m30s or 1:30, not {text!r}")
    return seconds


def hash_stylize_settings(s: StylizeSettings) -> str:
    """SHA-256 of what pictures record of their settings, and of the time that was given."""
    given = {key: value for key, value in asdict(s).items() if key in (*RECORDED_KEYS, "time")} | {
        "features": features_without_folder(s)
    }
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def features_without_folder(s: StylizeSettings) -> dict[str, Any]:
    """The features' settings without the weights' folder."""
    weights = s.features["weights"]
    return s.features | {"weights": weights and Path(weights).name}
