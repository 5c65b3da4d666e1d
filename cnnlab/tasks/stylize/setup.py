"""From `stylize`'s settings to what a transfer takes: pictures, network, loss, sizes."""

from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.memory import bytes_of, free, hand_back, keep_nothing, used, words
from cnnlab.core.quoting import plain
from cnnlab.core.schema import build, call, check
from cnnlab.style.color_transfer import grey, grey_matched, matched
from cnnlab.style.losses import AIMS, Aim, as_shares
from cnnlab.style.memory_plan import Room, looked_at, room, to_look
from cnnlab.style.optimizers import DESCENTS
from cnnlab.style.pretrained import Chosen, Features, chosen
from cnnlab.style.scales import Size, fitted, painting_size, sizes_to
from cnnlab.style.source_image import Original, original, to_tensor
from cnnlab.style.tiled_loss import WHOLE, Easel, Sights
from cnnlab.tasks.stylize.settings import Settings, fingerprint

SHARE = 0.8  # of the memory that is free, which others may want too
SPARE = 1.5  # of what looking at a picture takes; with less the C library's own losses count
SIGHTS = 24  # of the paintings at other sizes that are kept; one is up to 2.4 MB of Gram matrices
LATER = 24_000_000  # bytes of what is loaded as it is painted and written
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Workshop:
    """What every photograph is painted with."""

    settings: Settings
    aim: Aim
    chosen: Chosen
    styles: list[Original]
    device: torch.device
    asked: str  # SHA-256 of the settings as they were given, whatever of them memory holds
    sights: Sights = field(default_factory=dict)

    @property
    def said(self) -> list[str]:
        """Which network it is, where that is to be said."""
        if self.settings.features["name"] == "random":
            return ["RANDOM WEIGHTS: a network that has learned nothing, for study"]
        return [self.chosen.why] if self.chosen.why else []


@dataclass(frozen=True)
class Studio:
    """Everything that a transfer takes. `wanted`: the size that was asked for, which memory may not hold."""

    shop: Workshop
    content: Original
    sizes: list[Size]
    easel: Easel
    wanted: Size
    room: Room

    @property
    def styles(self) -> list[Original]:
        return self.shop.styles

    @property
    def chosen(self) -> Chosen:
        return self.shop.chosen

    @property
    def device(self) -> torch.device:
        return self.shop.device

    def begin(self, size: Size) -> Tensor:
        """What the first scale starts from: the photograph, the (first) painting stretched to its shape, or noise,
        uniform in 0..1."""
        s = self.shop.settings
        if s.start == "noise":
            return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(s.seed)).to(self.device)
        if s.start == "style":
            return self.easel.styles[0](size)
        return self.easel.content(size)

    def steps(self, s: Settings) -> list[int]:
        """At each size."""
        return [s.first_steps, *[s.steps] * (len(self.sizes) - 1)]

    def keys(self, s: Settings) -> dict[str, Any]:
        """The method's, as far as memory holds what they ask for."""
        return s.lbfgs | {"memory": self.room.past} if s.method == "lbfgs" else s.adam

    @property
    def piece(self) -> int | None:
        """The most pixels that the network looks at in one go; None: every picture is."""
        return None if self.easel.piece == WHOLE else self.easel.piece

    @property
    def shrunk(self) -> bool:
        """Whether memory did not hold what was asked for."""
        return self.sizes[-1] != self.wanted

    def too_small(self, style: Original) -> bool:
        """Whether a painting has fewer pixels than are wanted of it."""
        wanted = (self.sizes[-1][0] * self.sizes[-1][1]) * self.easel.style_scale**2
        return style.size[0] * style.size[1] < 0.99 * wanted

    def losses(self, terms: Tensor) -> dict[str, Any]:
        """Terms in words."""
        loss, content, *styles, variation = [value if isfinite(value) else None for value in terms.tolist()]
        parts = (
            len(styles) if self.easel.aim.scales is as_shares else 1
        )  # a layer's own share; of the chapter's sum, its part
        each = [value and value * parts for value in styles]
        return {
            "loss": loss,
            "content": content,
            "style": None if None in styles else sum(styles),
            "layers": dict(zip(self.easel.aim.layers, each, strict=True)),
            "variation": variation,
        }


def workshop(s: Settings, device: torch.device, *, named: bool, asked: str | None = None) -> Workshop:
    """Read the paintings and the network. `named`: weights may be fetched; `asked`: an earlier picture's. Raises
    UsageError or CnnlabError for what cannot be."""
    aim = build(AIMS, s.style, "style")
    spec = call(Features, s.features, "features")
    for name, descent in DESCENTS.items():
        check(descent, getattr(s, name), name)
    call(DESCENTS[s.method], getattr(s, s.method), s.method, still, torch.zeros(1, 3, 1, 1))
    styles = [original(one, s.max_pixels).opaque() for one in s.styles]
    network = chosen(spec, deepest=aim.deepest, seed=s.seed, named=named)
    network.encoder.to(device).to(memory_format=torch.channels_last)
    return Workshop(s, aim, network, styles, device, asked or fingerprint(s))


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
        piece=WHOLE,
        sights=shop.sights,
    )
    names = [plain(str(s.score if full else content.path.name)), *(plain(one.path.name) for one in shop.styles)]
    wanted = full or fitted(content.size, s.size or max(content.size))
    found = roomy(s, content.size, wanted, easel, device, look=full is not None)
    sizes = large_enough(sizes_to(found.size, s.coarsest), easel, names, cramped=found.size != wanted)
    easel = replace(easel, piece=in_one_go(s, found, easel))
    forget(shop, easel, sizes)
    if s.color != "style":
        shown, painted = coloured(s.color, content, shop.styles, found.size, s.style_scale)
        easel = replace(easel, content=shown.tensor(device), styles=[one.tensor(device) for one in painted], sights={})
    return Studio(shop, content, sizes, easel, wanted, found)


def roomy(s: Settings, own: Size, wanted: Size, easel: Easel, device: torch.device, *, look: bool) -> Room:
    """How a photograph of its `own` size can be painted at the size that is `wanted`, or a smaller one, in the memory
    that there is, or may be used; or with `look` only be looked at. Raises UsageError where it cannot be."""
    each = looked_at(easel)
    hand_back()
    there, limit = free(device), s.memory_limit and bytes_of(str(s.memory_limit))
    rest = int(SHARE * there) if limit is None else min(int(limit) - used(device) - LATER, there)
    found = to_look(rest, wanted, easel, each) if look else room(rest, own, max(wanted), easel, past_steps(s), each)
    if found is None:
        which = f"memory_limit={s.memory_limit}" if s.memory_limit else f"{words(there)} of free memory"
        what = f"look at {wanted[1]}x{wanted[0]} pixels" if look else "paint with"
        raise UsageError(f"{which} is too little to {what}: {words(used(device))} are in use before the first step")
    return found


def past_steps(s: Settings) -> int:
    """That the method is to keep."""
    return int(s.lbfgs["memory"]) if s.method == "lbfgs" else 0


def in_one_go(s: Settings, found: Room, easel: Easel) -> int:
    """The most pixels to look at in one go: WHOLE where memory holds the picture and every painting beside it. Where it
    holds not much more, nothing that is freed is kept."""
    largest = max(found.size[0] * found.size[1], easel.largest_painting(found.size))
    if found.piece < SPARE * largest:
        keep_nothing()
    return min(s.piece or WHOLE, found.piece if found.piece < largest else WHOLE)


def forget(shop: Workshop, easel: Easel, sizes: list[Size]) -> None:
    """Of the paintings, what was seen for earlier photographs of other shapes, but for the last of it."""
    needed = {(i, own, easel.piece) for size in sizes for i, own in enumerate(easel.painting_sizes(size))}
    for key in [one for one in shop.sights if one not in needed][:-SIGHTS]:
        del shop.sights[key]


def precision(s: Settings, device: torch.device) -> str:
    """What `precision=auto` means on a device."""
    if s.precision != "auto":
        return s.precision
    return "bfloat16" if device.type == "cuda" else "float32"


def large_enough(sizes: list[Size], easel: Easel, names: list[str], *, cramped: bool) -> list[Size]:
    """Those sizes at which the network can look at all pictures. Raises UsageError, naming the picture, where that is
    not so at the last; `cramped`: since memory holds no larger one."""
    least = easel.encoder.least
    found = [size for size in sizes if min(min(one) for one in (size, *easel.painting_sizes(size))) >= least]
    easel.encoder.check(easel.names, (least, least))
    for name, (height, width) in zip(names, (sizes[-1], *easel.painting_sizes(sizes[-1])), strict=True):
        if min(height, width) < least:
            why = "; memory holds no more" if cramped else ""
            raise UsageError(
                f"{name} would be looked at in {width}x{height} pixels, and {least} a side are needed{why}"
            )
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
