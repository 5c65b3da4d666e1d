"""From `stylize`'s settings to what a transfer takes: pictures, network, loss, sizes."""

import re
from dataclasses import dataclass, fields
from functools import partial
from math import isfinite
from typing import Any, Literal

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.schema import build, call, check
from cnnlab.core.text import plain
from cnnlab.style.colours import grey, grey_matched, matched
from cnnlab.style.descent import DESCENTS
from cnnlab.style.losses import AIMS, Aim, as_shares
from cnnlab.style.plan import Size, fitted, painting_size, sizes_to
from cnnlab.style.transfer import Easel
from cnnlab.tasks.encoders import Chosen, Features, chosen
from cnnlab.tasks.painting import Original, original, to_tensor

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COUNTS = ("size", "steps", "first_steps", "coarsest", "max_pixels", "log_every", "preview_every")
# Keys that say where and with what, and not how: they are not recorded, and may be given with --again.
FREE = ("content", "styles", "out", "overwrite", "again", "score", "download", "json", "outputs", "device",
        "max_pixels", "log_every", "preview_every", "time")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """configs/stylize.yaml's keys and their types; those of the style, the features and the methods are checked by
    their builders."""

    content: str | None
    styles: list[str]
    style_weights: list[float] | None
    out: str | None
    overwrite: bool
    size: int
    time: str | float | None
    steps: int
    first_steps: int
    coarsest: int
    style_scale: float
    color: Literal["style", "content", "matched"]
    start: Literal["content", "noise", "style"]
    total_variation: float
    method: Literal["lbfgs", "adam"]
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int
    device: str
    threads: int | None
    max_pixels: int
    log_every: int
    preview_every: int
    download: bool
    again: str | None
    score: str | None
    json: bool
    outputs: str
    style: dict[str, Any]
    features: dict[str, Any]
    lbfgs: dict[str, Any]
    adam: dict[str, Any]

    def __post_init__(self) -> None:
        for key in COUNTS:
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, not {self.threads}")
        if not 0 < self.style_scale < float("inf"):
            raise ValueError(f"style_scale must be above 0, not {self.style_scale}")
        if not 0 <= self.total_variation < float("inf"):
            raise ValueError(f"total_variation must be at least 0, not {self.total_variation}")
        if not 0 <= self.seed < 1 << 40:
            raise ValueError(f"seed must be at least 0 and below 2^40, not {self.seed}")
        weights = self.style_weights
        fit = weights is None or (len(weights) == len(self.styles) and min(weights, default=-1) >= 0 < sum(weights))
        if not fit:
            raise ValueError(f"style_weights must be {len(self.styles)} numbers, one for each painting, not {weights}")
        if self.time is not None:
            seconds_of(str(self.time))

    @property
    def seconds(self) -> float | None:
        return None if self.time is None else seconds_of(str(self.time))


MEANINGS = {
    "relative": ("(0: the photograph, 1: nothing of it)", "(1: the photograph untouched, 0: the painting)"),
    "chapter": ("(the chapter's sum)", "(the chapter's sum)"),
}
RECORDED = tuple(field.name for field in fields(Settings) if field.name not in FREE)


def seconds_of(text: str) -> float:
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


@dataclass(frozen=True)
class Studio:
    """Everything that a transfer takes."""

    content: Original
    styles: list[Original]
    chosen: Chosen
    aim: Aim
    sizes: list[Size]
    easel: Easel
    device: torch.device
    start: str
    seed: int

    def begin(self, size: Size) -> Tensor:
        """What the first scale starts from: the photograph, the (first) painting stretched to its shape, or noise,
        uniform in 0..1."""
        if self.start == "noise":
            return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(self.seed)).to(self.device)
        if self.start == "style":
            return self.easel.styles[0](size)
        return self.easel.content(size)

    def too_small(self, style: Original) -> bool:
        """Whether a painting has fewer pixels than are wanted of it."""
        wanted = (self.sizes[-1][0] * self.sizes[-1][1]) * self.easel.style_scale**2
        return style.size[0] * style.size[1] < 0.99 * wanted

    def losses(self, terms: Tensor) -> dict[str, Any]:
        """Terms in words."""
        loss, content, *styles, variation = [value if isfinite(value) else None for value in terms.tolist()]
        parts = (
            len(styles) if self.aim.scales is as_shares else 1
        )  # a layer's own share; of the chapter's sum, its part
        each = [value and value * parts for value in styles]
        return {
            "loss": loss,
            "content": content,
            "style": None if None in styles else sum(styles),
            "layers": dict(zip(self.aim.layers, each, strict=True)),
            "variation": variation,
        }


def studio(s: Settings, device: torch.device, *, named: bool, full: Size | None = None) -> Studio:
    """Read and build. `named`: weights may be fetched; `full`: the picture's size, where it is not to follow from the
    photograph's. Raises UsageError or CnnlabError for what cannot be."""
    aim = build(AIMS, s.style, "style")
    spec = call(Features, s.features, "features")
    for name, descent in DESCENTS.items():
        check(descent, getattr(s, name), name)
    call(DESCENTS[s.method], getattr(s, s.method), s.method, still, torch.zeros(1, 3, 1, 1))
    content = original(str(s.content), s.max_pixels)
    styles = [original(one, s.max_pixels).opaque() for one in s.styles]
    network = chosen(spec, deepest=aim.deepest, seed=s.seed, named=named)
    network.encoder.to(device).to(memory_format=torch.channels_last)
    sizes = sizes_to(full or fitted(content.size, s.size), s.coarsest)
    shown, painted = coloured(s.color, content, styles, sizes[-1], s.style_scale)
    easel = Easel(
        encoder=network.encoder,
        content=shown.tensor(device),
        styles=[one.tensor(device) for one in painted],
        style_sizes=[one.size for one in painted],
        style_weights=s.style_weights or [1.0] * len(painted),
        style_scale=s.style_scale,
        aim=aim,
        variation=s.total_variation,
        dtype=PRECISIONS[precision(s, device)],
    )
    names = [s.score if full else content.path.name, *(one.path.name for one in styles)]
    sizes = large_enough(sizes, easel, [plain(str(name)) for name in names])
    return Studio(content, styles, network, aim, sizes, easel, device, s.start, s.seed)


def precision(s: Settings, device: torch.device) -> str:
    """What `precision=auto` means on a device."""
    if s.precision != "auto":
        return s.precision
    return "bfloat16" if device.type == "cuda" else "float32"


def large_enough(sizes: list[Size], easel: Easel, names: list[str]) -> list[Size]:
    """Those sizes at which the network can look at all pictures. Raises UsageError, naming the picture, where that is
    not so at the last."""
    least = easel.encoder.least
    found = [size for size in sizes if min(min(one) for one in (size, *easel.painting_sizes(size))) >= least]
    easel.encoder.check(easel.names, (least, least))
    for name, (height, width) in zip(names, (sizes[-1], *easel.painting_sizes(sizes[-1])), strict=True):
        if min(height, width) < least:
            raise UsageError(f"{name} would be looked at in {width}x{height} pixels, and {least} a side are needed")
    return found


def still(x: Tensor) -> tuple[Tensor, Tensor]:
    """A loss to try a method's keys with."""
    return torch.zeros(1), x


def coloured(
    color: str, content: Original, styles: list[Original], size: Size, style_scale: float
) -> tuple[Original, list[Original]]:
    """The pictures as the network is to see them, at the size that they are needed in: of the photograph's own colours,
    the painting's moved to them, or neither any."""
    if color == "style":
        return content, styles
    small = to_tensor(content.at(size))
    change = partial(matched if color == "matched" else grey_matched, content=small)
    painted = [one.changed(change, painting_size(one.size, size, style_scale)) for one in styles]
    return content.changed(grey, size) if color == "content" else content, painted
