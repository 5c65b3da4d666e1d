"""How a transfer fits into memory, and what is reduced where it does not.

First the tiles become smaller, then the L-BFGS history; then the image is not optimized at more
pixels than it has, and finally it becomes smaller.
"""

from bisect import bisect
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.memory import (
    format_bytes,
    get_free_memory,
    get_used_memory,
    release_cached,
    release_immediately,
)
from cnnlab.style.scales import Size, fit_size, scale_size
from cnnlab.style.tiled_loss import UNTILED, TransferLoss
from cnnlab.style.tiling import make_tiles
from cnnlab.style.vgg import relu_stride

FREE_MEMORY_SHARE = 0.8  # of the free memory, which other processes may need too
LATER_BYTES = 24_000_000  # libraries that are loaded while the image is optimized and saved
CACHE_HEADROOM = 1.5  # of one pass's memory; with less, the C library's own cache matters
BYTES_PER_PIXEL = 12  # of float32 RGB
LIVE_IMAGES = 10  # images at once: itself, its gradient, a step and its result, temporaries
LIVE_IMAGES_EVALUATING = 4  # without optimization: the file's pixels, copies, and a tile
LIVE_STYLE_IMAGES = 4  # images of the largest style image's size, while it is evaluated
HISTORY_BYTES_PER_PIXEL = 2 * BYTES_PER_PIXEL  # of one L-BFGS history entry
GUIDE_BYTES_PER_PIXEL = 12  # of weights at all layers' positions, or of a content image
BACKWARD_OVERHEAD = 1.3  # of a backward pass, relative to the tensors saved for it
MIN_HISTORY_SIZE = 5  # that L-BFGS keeps, if as many were requested
PROBE_SIDE = 128  # pixels of the side of the image that a pass is measured with
MIN_TILE_PIXELS = 1 << 18  # in smaller tiles most of the work is margins


@dataclass(frozen=True)
class MemoryPlan:
    """The image's size, the most pixels of a tile, and the history size that memory holds.

    `supersampling`: the largest scale's size, relative to the image's.
    """

    size: Size
    max_tile_pixels: int
    history_size: int
    supersampling: float = 1.0

    @property
    def largest_size(self) -> Size:
        """Return the size of the largest scale."""
        return scale_size(self.size, self.supersampling)


def fit_to_memory(
    transfer_loss: TransferLoss,
    content_size: Size,
    requested_size: Size,
    *,
    memory_limit: int | None,
    history_size: int,
    evaluate_only: bool,
) -> MemoryPlan:
    """Return how an image of `requested_size`, or a smaller one, can be optimized in memory.

    `memory_limit`: bytes that the process may use, None for most of what is free; `history_size`:
    requested of L-BFGS, 0 for other optimizers; `evaluate_only`: exactly that size, one evaluation.
    Raises UsageError where memory holds no image.
    """
    device = next(transfer_loss.encoder.parameters()).device
    pixel_bytes = measure_bytes_per_pixel(transfer_loss)
    release_cached()
    free = get_free_memory(device)
    if memory_limit is None:
        usable = int(FREE_MEMORY_SHARE * free)
    else:
        usable = min(memory_limit - get_used_memory(device) - LATER_BYTES, free)
    if evaluate_only:
        plan = plan_evaluation_memory(usable, requested_size, transfer_loss, pixel_bytes)
    else:
        longest = max(requested_size)
        plan = plan_memory(usable, content_size, longest, transfer_loss, history_size, pixel_bytes)
    if plan is None:
        limit = (
            f"{format_bytes(free)} of free memory"
            if memory_limit is None
            else f"a memory limit of {format_bytes(memory_limit)}"
        )
        height, width = requested_size
        use = f"to evaluate {width}x{height} pixels" if evaluate_only else "to stylize"
        used = format_bytes(get_used_memory(device))
        raise UsageError(f"{limit} is too little {use}: {used} are in use before the first step")
    return plan


def choose_tile_pixels(transfer_loss: TransferLoss, plan: MemoryPlan, requested: int | None) -> int:
    """Return the most pixels of a tile, UNTILED where memory holds all images in one pass.

    Where it holds little more than that, freed memory is returned to the system from here on.
    """
    size = plan.largest_size
    largest = max(transfer_loss.canvas_pixels(size), transfer_loss.max_style_pixels(size))
    if plan.max_tile_pixels < CACHE_HEADROOM * largest:
        release_immediately()
    affordable = plan.max_tile_pixels if plan.max_tile_pixels < largest else UNTILED
    return min(requested or UNTILED, affordable)


def usable_sizes(
    sizes: list[Size], transfer_loss: TransferLoss, names: list[str], *, is_memory_limited: bool
) -> list[Size]:
    """Return those scales at which all images are large enough for the network.

    `names`: of the content image and the style images; `is_memory_limited`: whether memory holds
    no larger image. Raises UsageError, with the image's name, if the last scale is too small.
    """
    encoder = transfer_loss.encoder

    def image_sizes(size: Size) -> list[Size]:
        return [size, *transfer_loss.compute_style_sizes(size)]

    usable = [
        size
        for size in sizes
        if min(min(image_size) for image_size in image_sizes(size)) >= encoder.min_size
    ]
    encoder.check_input(transfer_loss.relu_names, (encoder.min_size, encoder.min_size))
    for name, (height, width) in zip(names, image_sizes(sizes[-1]), strict=True):
        if min(height, width) < encoder.min_size:
            reason = "; memory holds no larger image" if is_memory_limited else ""
            raise UsageError(
                f"{name} at {width}x{height} pixels is too small: "
                f"each side needs at least {encoder.min_size}{reason}"
            )
    return usable


def plan_memory(
    free: int,
    content_size: Size,
    longest: int,
    transfer_loss: TransferLoss,
    history_size: int,
    pixel_bytes: float,
) -> MemoryPlan | None:
    """Return how an image whose longer side is `longest`, or less, is optimized in `free` bytes.

    `history_size`: requested of L-BFGS, 0 for other optimizers; `pixel_bytes`: of one pass, per
    pixel. None if memory does not even hold the smallest image.
    """
    min_history = min(history_size, MIN_HISTORY_SIZE)

    def bytes_for_passes(size: Size, history_size: int) -> float:
        pixel_bytes = (
            LIVE_IMAGES * BYTES_PER_PIXEL
            + history_size * HISTORY_BYTES_PER_PIXEL
            + content_bytes_per_pixel(transfer_loss)
        )
        style_bytes = LIVE_STYLE_IMAGES * BYTES_PER_PIXEL * transfer_loss.max_style_pixels(size)
        return free - max(transfer_loss.canvas_pixels(size) * pixel_bytes, style_bytes)

    def is_enough(size: Size, history_size: int = min_history) -> bool:
        pixels = min(transfer_loss.canvas_pixels(size), MIN_TILE_PIXELS)
        return bytes_for_passes(size, history_size) >= pixel_bytes * pixels

    size, supersampling = fit_size(content_size, longest), transfer_loss.supersampling
    if not is_enough(scale_size(size, supersampling)):
        supersampling = 1.0
    if not is_enough(scale_size(size, supersampling)):  # nor any larger size
        sides = range(1, max(size))
        side = bisect(sides, 0, key=lambda side: not is_enough(fit_size(content_size, side)))
        size = fit_size(content_size, max(1, side))
        if not is_enough(size):
            return None
    largest = scale_size(size, supersampling)
    affordable = next(count for count in range(history_size, -1, -1) if is_enough(largest, count))
    tile_pixels = int(bytes_for_passes(largest, affordable) / pixel_bytes)
    return MemoryPlan(size, tile_pixels, affordable, supersampling)


def plan_evaluation_memory(
    free: int, size: Size, transfer_loss: TransferLoss, pixel_bytes: float
) -> MemoryPlan | None:
    """Return how an image is evaluated once, without gradient, in `free` bytes; None if it cannot.

    `pixel_bytes`: of one pass with gradient, per pixel.
    """
    pixel_bytes /= 1 + BACKWARD_OVERHEAD
    pixels = size[0] * size[1]
    image_bytes = LIVE_IMAGES_EVALUATING * BYTES_PER_PIXEL + content_bytes_per_pixel(transfer_loss)
    style_bytes = LIVE_STYLE_IMAGES * BYTES_PER_PIXEL * transfer_loss.max_style_pixels(size)
    rest = free - max(pixels * image_bytes, style_bytes)
    if rest < pixel_bytes * min(pixels, MIN_TILE_PIXELS):
        return None
    return MemoryPlan(size, int(rest / pixel_bytes), 0)


def content_bytes_per_pixel(transfer_loss: TransferLoss) -> float:
    """Return the bytes of the content image's maps per pixel, and of masks and content factors."""
    layer = transfer_loss.spec.content_layer
    content_bytes = 4 * transfer_loss.encoder.num_filters(layer) / relu_stride(layer) ** 2
    return content_bytes + num_guides(transfer_loss) * GUIDE_BYTES_PER_PIXEL


def num_guides(transfer_loss: TransferLoss) -> int:
    """Return how many images of weights there are, the content image that masks keep included."""
    masks, factors = transfer_loss.masks, transfer_loss.content_factors
    return (0 if masks is None else len(masks((1, 1))) + 1) + (factors is not None)


def measure_bytes_per_pixel(transfer_loss: TransferLoss) -> float:
    """Return the bytes per pixel of a pass: tensors saved for the gradient, and the backward pass.

    The former are measured on a small image; the latter was 0.2 to 1.0 times as much in four
    networks.
    """
    weight_shapes = {parameter.shape for parameter in transfer_loss.encoder.parameters()}
    storage_bytes = dict[int, int]()

    def pack(x: Tensor) -> Tensor:
        # Weights are in memory anyway; as bfloat16 they do not grow with the image.
        if x.shape not in weight_shapes:
            storage_bytes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    size = (PROBE_SIDE, PROBE_SIDE)
    like = next(transfer_loss.encoder.parameters())
    dtype = torch.promote_types(like.dtype, torch.float32)  # of the image
    x = torch.zeros(1, 3, *size, device=like.device, dtype=dtype, requires_grad=True)
    (tile,) = make_tiles(size, PROBE_SIDE**2, 0, 1)
    guidance = replace(transfer_loss, margin=0).make_guidance(size)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        maps = transfer_loss.compute_feature_maps(x, tile)
        sums = [
            *transfer_loss.compute_grams(maps, tile, size, guidance),
            maps[transfer_loss.spec.content_layer].float().square().sum(),
        ]
    del sums
    return (1 + BACKWARD_OVERHEAD) * sum(storage_bytes.values()) / PROBE_SIDE**2
