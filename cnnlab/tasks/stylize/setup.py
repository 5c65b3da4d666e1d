"""From `stylize`'s settings to what a transfer takes: pictures, network, loss, sizes."""

from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.memory import (
    format_bytes,
    get_free_memory,
    get_used_memory,
    parse_bytes,
    release_cached,
    release_immediately,
)
from cnnlab.core.quoting import printable
from cnnlab.core.schema import build_registered, call_checked, check_keywords
from cnnlab.style.color_transfer import luminance_as_rgb, match_colors, match_luminance
from cnnlab.style.losses import STYLE_LOSSES, LossSpec, relative_scales
from cnnlab.style.memory_plan import (
    MemoryPlan,
    measure_bytes_per_pixel,
    plan_evaluation_memory,
    plan_memory,
)
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
from cnnlab.style.pretrained import LoadedEncoder, load_encoder
from cnnlab.style.scales import Size, fit_size, fit_style_size, pyramid_sizes
from cnnlab.style.settings import EncoderSettings
from cnnlab.style.source_image import SourceImage, image_to_tensor, read_source_image
from cnnlab.style.tiled_loss import UNTILED, StyleCache, TransferLoss
from cnnlab.tasks.stylize.settings import StylizeSettings, hash_stylize_settings

FREE_MEMORY_SHARE = 0.8  # of the memory that is free, which others may want too
CACHE_HEADROOM = (
    1.5  # of what looking at a picture takes; with less the C library's own losses count
)
MAX_UNUSED_STYLES = (
    24  # of the paintings at other sizes that are kept; one is up to 2.4 MB of Gram matrices
)
LATER_BYTES = 24_000_000  # bytes of what is loaded as it is painted and written
CONV_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class StyleSetup:
    """What every photograph is painted with."""

    settings: StylizeSettings
    spec: LossSpec
    loaded_encoder: LoadedEncoder
    styles: list[SourceImage]
    device: torch.device
    settings_sha256: (
        str  # SHA-256 of the settings as they were given, whatever of them memory holds
    )
    style_cache: StyleCache = field(default_factory=dict)

    @property
    def encoder_notes(self) -> list[str]:
        """Which network it is, where that is to be said."""
        if self.settings.features["name"] == "random":
            return ["RANDOM WEIGHTS: a network that has learned nothing, for study"]
        return [self.loaded_encoder.reason] if self.loaded_encoder.reason else []


@dataclass(frozen=True)
class TransferJob:
    """Everything that a transfer takes. `wanted`: the size that was asked for, which memory may not hold."""

    setup: StyleSetup
    content: SourceImage
    sizes: list[Size]
    transfer_loss: TransferLoss
    requested_size: Size
    memory_plan: MemoryPlan

    @property
    def styles(self) -> list[SourceImage]:
        return self.setup.styles

    @property
    def loaded_encoder(self) -> LoadedEncoder:
        return self.setup.loaded_encoder

    @property
    def device(self) -> torch.device:
        return self.setup.device

    def make_initial_image(self, size: Size) -> Tensor:
        """What the first scale starts from: the photograph, the (first) painting stretched to its shape, or noise,
        uniform in 0..1."""
        s = self.setup.settings
        if s.start == "noise":
            return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(s.seed)).to(
                self.device
            )
        if s.start == "style":
            return self.transfer_loss.styles[0](size)
        return self.transfer_loss.content(size)

    def steps_per_scale(self, s: StylizeSettings) -> list[int]:
        """At each size."""
        return [s.first_steps, *[s.steps] * (len(self.sizes) - 1)]

    def optimizer_settings(self, s: StylizeSettings) -> dict[str, Any]:
        """The method's, as far as memory holds what they ask for."""
        return (
            s.lbfgs | {"history_size": self.memory_plan.history_size}
            if s.optimizer == "lbfgs"
            else s.adam
        )

    @property
    def max_tile_pixels(self) -> int | None:
        """The most pixels that the network looks at in one go; None: every picture is."""
        return (
            None
            if self.transfer_loss.max_tile_pixels == UNTILED
            else self.transfer_loss.max_tile_pixels
        )

    @property
    def is_shrunk(self) -> bool:
        """Whether memory did not hold what was asked for."""
        return self.sizes[-1] != self.requested_size

    def is_too_small(self, style: SourceImage) -> bool:
        """Whether a painting has fewer pixels than are wanted of it."""
        wanted = (self.sizes[-1][0] * self.sizes[-1][1]) * self.transfer_loss.style_scale**2
        return style.size[0] * style.size[1] < 0.99 * wanted

    def losses_by_name(self, terms: Tensor) -> dict[str, Any]:
        """Terms in words."""
        loss, content, *styles, variation = [
            value if isfinite(value) else None for value in terms.tolist()
        ]
        parts = (
            len(styles) if self.transfer_loss.spec.compute_scales is relative_scales else 1
        )  # a layer's own share; of the chapter's sum, its part
        each = [value and value * parts for value in styles]
        return {
            "loss": loss,
            "content": content,
            "style": None if None in styles else sum(styles),
            "layers": dict(zip(self.transfer_loss.spec.layers, each, strict=True)),
            "variation": variation,
        }


def prepare_styles(
    s: StylizeSettings,
    device: torch.device,
    *,
    allow_download: bool,
    settings_sha256: str | None = None,
) -> StyleSetup:
    """Read the paintings and the network. `named`: weights may be fetched; `asked`: an earlier picture's. Raises
    UsageError or CnnlabError for what cannot be."""
    aim = build_registered(STYLE_LOSSES, s.style, "style")
    spec = call_checked(EncoderSettings, s.features, "features")
    for name, descent in IMAGE_OPTIMIZERS.items():
        check_keywords(descent, getattr(s, name), name)
    call_checked(
        IMAGE_OPTIMIZERS[s.optimizer],
        getattr(s, s.optimizer),
        s.optimizer,
        zero_loss,
        torch.zeros(1, 3, 1, 1),
    )
    styles = [read_source_image(one, s.max_pixels).flatten_alpha() for one in s.styles]
    network = load_encoder(
        spec, deepest_layer=aim.deepest_layer, seed=s.seed, allow_download=allow_download
    )
    network.encoder.to(device).to(memory_format=torch.channels_last)
    return StyleSetup(s, aim, network, styles, device, settings_sha256 or hash_stylize_settings(s))


def prepare_job(
    shop: StyleSetup, content: SourceImage, exact_size: Size | None = None
) -> TransferJob:
    """Place a photograph in it, at the size that was asked for or, where that is less, the largest that memory holds;
    `full`: that size and no other. Raises UsageError for what cannot be."""
    s, device = shop.settings, shop.device
    easel = TransferLoss(
        encoder=shop.loaded_encoder.encoder,
        content=content.as_image_at_size(device),
        styles=[one.as_image_at_size(device) for one in shop.styles],
        style_sizes=[one.size for one in shop.styles],
        style_weights=s.style_weights or [1.0] * len(shop.styles),
        style_scale=s.style_scale,
        spec=shop.spec,
        tv_weight=s.total_variation,
        dtype=CONV_DTYPES[resolve_precision(s, device)],
        max_tile_pixels=UNTILED,
        style_cache=shop.style_cache,
    )
    names = [
        printable(str(s.score if exact_size else content.path.name)),
        *(printable(one.path.name) for one in shop.styles),
    ]
    wanted = exact_size or fit_size(content.size, s.size or max(content.size))
    found = fit_to_memory(
        s, content.size, wanted, easel, device, evaluate_only=exact_size is not None
    )
    sizes = usable_sizes(
        pyramid_sizes(found.size, s.coarsest), easel, names, is_memory_limited=found.size != wanted
    )
    easel = replace(easel, max_tile_pixels=choose_tile_pixels(s, found, easel))
    trim_style_cache(shop, easel, sizes)
    if s.color != "style":
        shown, painted = prepare_colors(s.color, content, shop.styles, found.size, s.style_scale)
        easel = replace(
            easel,
            content=shown.as_image_at_size(device),
            styles=[one.as_image_at_size(device) for one in painted],
            style_cache={},
        )
    return TransferJob(shop, content, sizes, easel, wanted, found)


def fit_to_memory(
    s: StylizeSettings,
    own: Size,
    wanted: Size,
    easel: TransferLoss,
    device: torch.device,
    *,
    evaluate_only: bool,
) -> MemoryPlan:
    """How a photograph of its `own` size can be painted at the size that is `wanted`, or a smaller one, in the memory
    that there is, or may be used; or with `look` only be looked at. Raises UsageError where it cannot be."""
    each = measure_bytes_per_pixel(easel)
    release_cached()
    there, limit = get_free_memory(device), s.memory_limit and parse_bytes(str(s.memory_limit))
    rest = (
        int(FREE_MEMORY_SHARE * there)
        if limit is None
        else min(int(limit) - get_used_memory(device) - LATER_BYTES, there)
    )
    found = (
        plan_evaluation_memory(rest, wanted, easel, each)
        if evaluate_only
        else plan_memory(rest, own, max(wanted), easel, requested_history_size(s), each)
    )
    if found is None:
        which = (
            f"memory_limit={s.memory_limit}"
            if s.memory_limit
            else f"{format_bytes(there)} of free memory"
        )
        what = f"look at {wanted[1]}x{wanted[0]} pixels" if evaluate_only else "paint with"
        raise UsageError(
            f"{which} is too little to {what}: {format_bytes(get_used_memory(device))} are in use before the first step"
        )
    return found


def requested_history_size(s: StylizeSettings) -> int:
    """That the method is to keep."""
    return int(s.lbfgs["history_size"]) if s.optimizer == "lbfgs" else 0


def choose_tile_pixels(s: StylizeSettings, found: MemoryPlan, easel: TransferLoss) -> int:
    """The most pixels to look at in one go: WHOLE where memory holds the picture and every painting beside it. Where it
    holds not much more, nothing that is freed is kept."""
    largest = max(found.size[0] * found.size[1], easel.max_style_pixels(found.size))
    if found.max_tile_pixels < CACHE_HEADROOM * largest:
        release_immediately()
    return min(
        s.max_tile_pixels or UNTILED,
        found.max_tile_pixels if found.max_tile_pixels < largest else UNTILED,
    )


def trim_style_cache(shop: StyleSetup, easel: TransferLoss, sizes: list[Size]) -> None:
    """Of the paintings, what was seen for earlier photographs of other shapes, but for the last of it."""
    needed = {
        (i, own, easel.max_tile_pixels)
        for size in sizes
        for i, own in enumerate(easel.compute_style_sizes(size))
    }
    for key in [one for one in shop.style_cache if one not in needed][:-MAX_UNUSED_STYLES]:
        del shop.style_cache[key]


def resolve_precision(s: StylizeSettings, device: torch.device) -> str:
    """What `precision=auto` means on a device."""
    if s.precision != "auto":
        return s.precision
    return "bfloat16" if device.type == "cuda" else "float32"


def usable_sizes(
    sizes: list[Size], easel: TransferLoss, names: list[str], *, is_memory_limited: bool
) -> list[Size]:
    """Those sizes at which the network can look at all pictures. Raises UsageError, naming the picture, where that is
    not so at the last; `cramped`: since memory holds no larger one."""
    least = easel.encoder.min_size
    found = [
        size
        for size in sizes
        if min(min(one) for one in (size, *easel.compute_style_sizes(size))) >= least
    ]
    easel.encoder.check_input(easel.relu_names, (least, least))
    for name, (height, width) in zip(
        names, (sizes[-1], *easel.compute_style_sizes(sizes[-1])), strict=True
    ):
        if min(height, width) < least:
            why = "; memory holds no more" if is_memory_limited else ""
            raise UsageError(
                f"{name} would be looked at in {width}x{height} pixels, and {least} a side are needed{why}"
            )
    return found


def zero_loss(x: Tensor) -> tuple[Tensor, Tensor]:
    """A loss to try a method's keys with."""
    return torch.zeros(1), x


def prepare_colors(
    color: str, content: SourceImage, styles: list[SourceImage], size: Size, style_scale: float
) -> tuple[SourceImage, list[SourceImage]]:
    """The pictures as the network is to see them, at the size that they are needed in: of the photograph's own colours,
    the painting's moved to them, or neither any."""
    if color == "style":
        return content, styles
    small = image_to_tensor(content.resize(size))
    change = partial(match_colors if color == "matched" else match_luminance, content=small)
    painted = [one.transform(change, fit_style_size(one.size, size, style_scale)) for one in styles]
    return content.transform(luminance_as_rgb, size) if color == "content" else content, painted
