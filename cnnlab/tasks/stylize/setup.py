"""From `stylize`'s settings to a job: images, network, loss, sizes and memory plan."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.memory import parse_bytes
from cnnlab.core.quoting import printable
from cnnlab.core.schema import build_registered, call_checked, check_keywords
from cnnlab.style.encoder import LoadedEncoder, load_encoder
from cnnlab.style.losses import STYLE_LOSSES, LossSpec
from cnnlab.style.mask_image import (
    MaskImage,
    make_content_factors,
    read_mask_image,
    read_masks,
    stack_masks,
)
from cnnlab.style.memory_plan import (
    MemoryPlan,
    choose_tile_pixels,
    fit_to_memory,
    usable_sizes,
)
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
from cnnlab.style.scales import Size, fit_size, pyramid_sizes, supersampled_sizes
from cnnlab.style.settings import EncoderSettings
from cnnlab.style.source_image import SourceImage, read_source_image
from cnnlab.style.tiled_loss import UNTILED, StyleCache, TransferLoss
from cnnlab.style.torus import make_periodic, round_to_stride
from cnnlab.style.vgg import VGGFeatures, relu_stride
from cnnlab.tasks.stylize.colors import convert_colors
from cnnlab.tasks.stylize.settings import StylizeSettings

MAX_UNUSED_STYLES = 24  # cached style statistics of other sizes; each up to 2.4 MB
CONV_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class StyleSetup:
    """What every content image is stylized with.

    `encoder`: the network with the convolutions of the settings' precision; `saved_sha256`: the
    settings' hash recorded in the image to reproduce, if any.
    """

    settings: StylizeSettings
    spec: LossSpec
    loaded_encoder: LoadedEncoder
    encoder: VGGFeatures
    styles: list[SourceImage]
    device: torch.device
    masks: Sequence[MaskImage] = ()
    content_map: MaskImage | None = None
    saved_sha256: str | None = None
    style_cache: StyleCache = field(default_factory=dict)

    @property
    def guide_images(self) -> list[MaskImage]:
        """Return the masks, and the map of content's weight."""
        return [*self.masks, *([self.content_map] if self.content_map else [])]

    @property
    def encoder_notes(self) -> list[str]:
        """Return lines on the choice of the network, if it needs any."""
        if self.settings.features["name"] == "random":
            return ["RANDOM WEIGHTS: the network is untrained"]
        return [self.loaded_encoder.reason] if self.loaded_encoder.reason else []

    @property
    def precision(self) -> str:
        """Return the precision of the convolutions, `auto` resolved for the device."""
        return choose_precision(self.settings, self.device)

    @property
    def requested_history_size(self) -> int:
        """Return the L-BFGS history size, 0 for other optimizers."""
        settings = self.settings
        return int(settings.lbfgs["history_size"]) if settings.optimizer == "lbfgs" else 0


@dataclass(frozen=True)
class TransferJob:
    """One content image to stylize; memory may not hold the requested size.

    `channels`: 1 if content and style images are gray, as they are optimized then, else 3.
    """

    setup: StyleSetup
    content: SourceImage
    sizes: list[Size]
    transfer_loss: TransferLoss
    requested_size: Size
    memory_plan: MemoryPlan
    channels: int
    size: Size  # of the output image

    @property
    def evaluation_loss(self) -> TransferLoss:
        """Return the loss of an image without a margin, in float32."""
        encoder = self.setup.loaded_encoder.encoder
        return replace(self.transfer_loss, encoder=encoder, margin=0, supersampling=1.0)

    @property
    def supersampling(self) -> float:
        """Return the largest scale's size relative to the output image's."""
        return self.memory_plan.supersampling

    def is_enlarged(self, size: Size) -> bool:
        """Return whether an image of `size` has to be enlarged to the output image's."""
        return max(size) < max(self.size)

    @property
    def is_shrunk(self) -> bool:
        """Return whether memory does not hold the requested size."""
        return self.size != self.requested_size

    @property
    def max_tile_pixels(self) -> int | None:
        """Return the most pixels of a tile; None if no image is tiled."""
        pixels = self.transfer_loss.max_tile_pixels
        return None if pixels == UNTILED else pixels

    @property
    def steps_per_scale(self) -> list[int]:
        """Return the number of steps at each scale."""
        settings = self.setup.settings
        return [settings.first_steps, *[settings.steps] * (len(self.sizes) - 1)]

    @property
    def optimizer_settings(self) -> dict[str, Any]:
        """Return the optimizer's settings, the history size as far as memory holds it."""
        settings = self.setup.settings
        if settings.optimizer == "adam":
            return settings.adam
        return settings.lbfgs | {"history_size": self.memory_plan.history_size}

    def make_initial_image(self, size: Size) -> Tensor:
        """Return the first scale's start (1, `channels`, H, W).

        The content image, the first style image stretched to its shape, both with some noise, or
        uniform noise in 0..1.
        """
        settings = self.setup.settings
        generator = torch.Generator().manual_seed(settings.seed)
        noise = torch.rand(1, 3, *size, generator=generator).to(self.setup.device)
        loss = self.transfer_loss
        starts = {"content": loss.content, "style": loss.styles[0]}
        if settings.start in starts:
            noise = starts[settings.start](size) + settings.start_noise * (noise - 0.5)
        return noise[:, : self.channels].clamp(0, 1)


def prepare_styles(
    settings: StylizeSettings,
    device: torch.device,
    *,
    allow_download: bool,
    saved_sha256: str | None = None,
) -> StyleSetup:
    """Read the style images and the network. Raises UsageError or CnnlabError if that fails."""
    spec = build_registered(STYLE_LOSSES, settings.style, "style")
    encoder_settings = call_checked(EncoderSettings, settings.features, "features")
    check_optimizer_settings(settings)
    styles = [
        read_source_image(path, settings.max_pixels).flatten_alpha() for path in settings.styles
    ]
    masks = read_masks(settings.mask_paths, settings.max_pixels)
    map_path = settings.content_map
    content_map = None if map_path is None else read_mask_image(map_path, settings.max_pixels)
    loaded_encoder = load_encoder(
        encoder_settings,
        deepest_layer=spec.deepest_layer,
        seed=settings.seed,
        allow_download=allow_download,
    )
    encoder = loaded_encoder.encoder.to(device).to(memory_format=torch.channels_last)
    encoder = encoder.cast_convolutions(CONV_DTYPES[choose_precision(settings, device)])
    return StyleSetup(
        settings, spec, loaded_encoder, encoder, styles, device, masks, content_map, saved_sha256
    )


def choose_precision(settings: StylizeSettings, device: torch.device) -> str:
    """Return the precision of the convolutions, `auto` resolved for a device."""
    if settings.precision != "auto":
        return settings.precision
    return "bfloat16" if device.type == "cuda" else "float32"


def check_optimizer_settings(settings: StylizeSettings) -> None:
    """Raise UsageError for a wrong key or value of an optimizer's."""
    for name, optimizer in IMAGE_OPTIMIZERS.items():
        check_keywords(optimizer, getattr(settings, name), name)
    name = settings.optimizer
    call_checked(
        IMAGE_OPTIMIZERS[name], getattr(settings, name), name, zero_loss, torch.zeros(1, 3, 1, 1)
    )


def prepare_job(
    setup: StyleSetup, content: SourceImage, exact_size: Size | None = None
) -> TransferJob:
    """Return the job of a content image, at the requested size or the largest that memory holds.

    `exact_size`: only evaluate an image of this size. Raises UsageError where that is impossible.
    """
    settings = setup.settings
    for guide in setup.guide_images:
        guide.check_aspect(content)
    content = content.flatten_alpha() if settings.wrap else content
    transfer_loss = make_transfer_loss(setup, content)
    if exact_size is None:
        transfer_loss = replace(transfer_loss, supersampling=settings.max_supersampling)
    requested_size = exact_size or fit_size(content.size, settings.size or max(content.size))
    limit = settings.memory_limit
    plan = fit_to_memory(
        transfer_loss,
        content.size,
        requested_size,
        memory_limit=None if limit is None else parse_bytes(str(limit)),
        history_size=setup.requested_history_size,
        evaluate_only=exact_size is not None,
    )
    output_name = str(settings.score) if exact_size else content.path.name
    names = [printable(name) for name in (output_name, *(s.path.name for s in setup.styles))]
    size, sizes = plan.size, pyramid_sizes(plan.size, settings.coarsest)
    sizes += supersampled_sizes(plan.size, plan.supersampling)
    is_memory_limited = plan.size != requested_size
    if settings.wrap and not exact_size:
        stride = relu_stride(setup.spec.deepest_layer)
        size, requested_size, *sizes = (
            round_to_stride(unrounded, stride) for unrounded in (size, requested_size, *sizes)
        )
    sizes = usable_sizes(sizes, transfer_loss, names, is_memory_limited=is_memory_limited)
    tile_pixels = choose_tile_pixels(transfer_loss, plan, settings.max_tile_pixels)
    transfer_loss = replace(
        transfer_loss, max_tile_pixels=tile_pixels, supersampling=plan.supersampling
    )
    trim_style_cache(transfer_loss, sizes)
    images = convert_colors(settings, content, setup.styles, sizes[-1])
    if settings.color != "style":
        first, *others = (image.as_image_at_size(setup.device) for image in images)
        transfer_loss = replace(transfer_loss, content=first, styles=others, style_cache={})
    if settings.wrap:
        content_at_size = transfer_loss.content
        transfer_loss = replace(
            transfer_loss, content=lambda size: make_periodic(content_at_size(size))
        )
    channels = 1 if all(image.is_gray for image in images) else 3
    return TransferJob(setup, content, sizes, transfer_loss, requested_size, plan, channels, size)


def make_transfer_loss(setup: StyleSetup, content: SourceImage) -> TransferLoss:
    """Return the loss of a content image, not tiled yet."""
    settings = setup.settings
    return TransferLoss(
        encoder=setup.encoder,
        content=content.as_image_at_size(setup.device),
        styles=[style.as_image_at_size(setup.device) for style in setup.styles],
        style_sizes=[style.size for style in setup.styles],
        style_weights=settings.style_weights or [1.0] * len(setup.styles),
        style_scales=settings.style_scales,
        spec=setup.spec,
        tv_weight=settings.total_variation,
        margin=0 if settings.wrap else settings.margin,
        max_tile_pixels=UNTILED,
        masks=stack_masks(setup.masks, setup.device),
        content_factors=make_content_factors(
            setup.content_map, settings.content_map_weight, setup.device
        ),
        wrap=settings.wrap,
        style_cache=setup.style_cache,
    )


def trim_style_cache(transfer_loss: TransferLoss, sizes: list[Size]) -> None:
    """Remove the oldest style statistics that these sizes do not use."""
    cache = transfer_loss.style_cache
    used = {
        (number, style_size, transfer_loss.max_tile_pixels, dtype)
        for dtype in CONV_DTYPES.values()
        for size in sizes
        for number, style_size in enumerate(transfer_loss.compute_style_sizes(size))
    }
    for key in [key for key in cache if key not in used][:-MAX_UNUSED_STYLES]:
        del cache[key]


def zero_loss(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a loss of zero, to construct an optimizer with."""
    return torch.zeros(1), x
