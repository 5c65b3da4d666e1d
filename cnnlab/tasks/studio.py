"""From `stylize`'s settings to what a transfer takes: pictures, network, loss, sizes."""

import re
from dataclasses import dataclass, fields, replace
from functools import partial
from math import isfinite
from typing import Any, Literal

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.memory import bytes_of, free, used, words
from cnnlab.core.schema import build, call, check
from cnnlab.core.text import plain
from cnnlab.style.colours import grey, grey_matched, matched
from cnnlab.style.descent import DESCENTS
from cnnlab.style.losses import AIMS, Aim, as_shares
from cnnlab.style.plan import Size, fitted, painting_size, sizes_to
from cnnlab.style.easel import Easel, Sight
from cnnlab.style.room import Room, room
from cnnlab.tasks.encoders import Chosen, Features, chosen
from cnnlab.tasks.painting import Original, original, to_tensor

SHARE = 0.8  # of the memory that is free, which others may want too
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COUNTS = ("size", "steps", "first_steps", "coarsest", "max_pixels", "piece", "threads", "log_every", "preview_every")
# Keys that say where and with what, and not how: they are not recorded, and may be given with --again.
FREE = ("content", "styles", "out", "overwrite", "again", "score", "download", "json", "outputs", "device",
        "max_pixels", "memory_limit", "log_every", "preview_every", "time")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
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
    method: Literal["lbfgs", "adam"]
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int
    device: str
    threads: int | None
    max_pixels: int
    memory_limit: str | float | None
    piece: int | None
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
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key} must be at least 1, not {value}")
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
        if self.memory_limit is not None:
            bytes_of(str(self.memory_limit))

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
    wanted: Size  # which memory may not hold
    room: Room

    def begin(self, size: Size) -> Tensor:
        """What the first scale starts from: the photograph, the (first) painting stretched to its shape, or noise,
        uniform in 0..1."""
        if self.start == "noise":
            return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(self.seed)).to(self.device)
        if self.start == "style":
            return self.easel.styles[0](size)
        return self.easel.content(size)

    def keys(self, s: Settings) -> dict[str, Any]:
        """The method's, as far as memory holds what they ask for."""
        return s.lbfgs | {"memory": self.room.past} if s.method == "lbfgs" else s.adam

    @property
    def piece(self) -> int:
        """The most pixels that the network looks at in one go."""
        return min(self.easel.piece, self.sizes[-1][0] * self.sizes[-1][1])

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


@dataclass(frozen=True)
class Workshop:
    """What every photograph is painted with."""

    settings: Settings
    aim: Aim
    chosen: Chosen
    styles: list[Original]
    device: torch.device
    sights: dict[tuple[int, Size], Sight]


def workshop(s: Settings, device: torch.device, *, named: bool) -> Workshop:
    """Read the paintings and the network. `named`: weights may be fetched. Raises UsageError or CnnlabError for what
    cannot be."""
    aim = build(AIMS, s.style, "style")
    spec = call(Features, s.features, "features")
    for name, descent in DESCENTS.items():
        check(descent, getattr(s, name), name)
    call(DESCENTS[s.method], getattr(s, s.method), s.method, still, torch.zeros(1, 3, 1, 1))
    styles = [original(one, s.max_pixels).opaque() for one in s.styles]
    network = chosen(spec, deepest=aim.deepest, seed=s.seed, named=named)
    network.encoder.to(device).to(memory_format=torch.channels_last)
    return Workshop(s, aim, network, styles, device, {})


def studio(shop: Workshop, content: Original, full: Size | None = None) -> Studio:
    """Place a photograph in it, at the size that was asked for or, where that is less, the largest that memory holds;
    `full`: that size and no other. Raises UsageError for what cannot be."""
    s, device = shop.settings, shop.device
    easel = Easel(
        encoder=shop.chosen.encoder,
        content=content.tensor(device),
        styles=[one.tensor(device) for one in shop.styles],
        style_sizes=[one.size for one in shop.styles],
        style_weights=s.style_weights or [1.0] * len(shop.styles),
        style_scale=s.style_scale,
        aim=shop.aim,
        variation=s.total_variation,
        dtype=PRECISIONS[precision(s, device)],
        piece=s.piece or 1 << 60,
        sights=shop.sights,
    )
    names = [plain(str(s.score if full else content.path.name)), *(plain(one.path.name) for one in shop.styles)]
    wanted = full or fitted(content.size, s.size or max(content.size))
    found = roomy(s, wanted, easel, device)
    if full and found.size != full:
        raise UsageError(f"{names[0]} is too large for memory_limit={s.memory_limit}")
    sizes = large_enough(sizes_to(found.size, s.coarsest), easel, names)
    easel = replace(easel, piece=min(easel.piece, found.piece))
    if s.color != "style":
        shown, painted = coloured(s.color, content, shop.styles, found.size, s.style_scale)
        easel = replace(easel, content=shown.tensor(device), styles=[one.tensor(device) for one in painted], sights={})
    return Studio(content, shop.styles, shop.chosen, shop.aim, sizes, easel, device, s.start, s.seed, wanted, found)


def roomy(s: Settings, size: Size, easel: Easel, device: torch.device) -> Room:
    """How a picture of a size can be painted in the memory that there is, or may be used. Raises UsageError where it
    cannot be at any size."""
    there, limit = free(device), s.memory_limit and bytes_of(str(s.memory_limit))
    rest = int(SHARE * there) if limit is None else min(int(limit) - used(device), there)
    found = room(rest, size, easel, s.lbfgs["memory"] if s.method == "lbfgs" else 0)
    if found is None:
        taken = f"{words(used(device))} are in use before the first step"
        raise UsageError(f"memory_limit={s.memory_limit or words(rest)} is too little to paint with: {taken}")
    return found


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
