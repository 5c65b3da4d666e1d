"""What a transfer takes of memory, and what is given up where there is less: looking at a picture in one go first, then
past steps of L-BFGS, then pixels."""

from bisect import bisect
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.style.scales import Size, fit_size
from cnnlab.style.tiled_loss import TransferLoss
from cnnlab.style.tiling import make_tiles
from cnnlab.style.vgg import relu_stride

BYTES_PER_PIXEL = 12  # bytes of an RGB pixel of float32
LIVE_IMAGES = (
    10  # pictures at once: itself, its gradient, a step and where it leads, and what comes of them
)
LIVE_IMAGES_EVALUATING = (
    4  # of one that is only looked at: its file's pixels, what becomes of them, and a piece of it
)
LIVE_STYLE_IMAGES = 4  # and of one as large as the painting, when that is looked at
HISTORY_BYTES_PER_PIXEL = 2 * BYTES_PER_PIXEL  # bytes a pixel of one past step
BACKWARD_OVERHEAD = 1.3  # of what is kept for a gradient: beside it, while it is taken
MIN_HISTORY_SIZE = 5  # past steps that L-BFGS keeps at least, where it was given more
PROBE_SIDE = 128  # pixels of the side of a picture that is looked at to see what one takes
MIN_TILE_PIXELS = (
    1 << 18
)  # pixels of a piece; in smaller ones what is around it is most of the work


@dataclass(frozen=True)
class MemoryPlan:
    """The picture's size, the most pixels to look at in one go, and the past steps to keep, that memory holds."""

    size: Size
    max_tile_pixels: int
    history_size: int


def plan_memory(
    free: int, own: Size, longest: int, easel: TransferLoss, past: int, each: float
) -> MemoryPlan | None:
    """How a photograph of its `own` size can be painted with a longer side of so many pixels in so many bytes; `past`:
    steps that are to be kept, 0 for a method that keeps none; `each`: bytes a pixel that is looked at. A smaller one
    where it cannot be, and None where not even the smallest can."""
    least = min(past, MIN_HISTORY_SIZE)

    def left(size: Size, past: int) -> float:
        """For looking at it."""
        pictures = (
            size[0]
            * size[1]
            * (
                LIVE_IMAGES * BYTES_PER_PIXEL
                + past * HISTORY_BYTES_PER_PIXEL
                + content_bytes_per_pixel(easel)
            )
        )
        return free - max(
            pictures, LIVE_STYLE_IMAGES * BYTES_PER_PIXEL * easel.max_style_pixels(size)
        )

    def holds(size: Size, past: int = least) -> bool:
        return left(size, past) >= each * min(size[0] * size[1], MIN_TILE_PIXELS)

    size = fit_size(own, longest)
    if not holds(size):  # nor then any larger one
        sides = range(1, max(size))
        size = fit_size(
            own, max(1, bisect(sides, 0, key=lambda side: not holds(fit_size(own, side))))
        )
        if not holds(size):
            return None
    kept = next(steps for steps in range(past, -1, -1) if holds(size, steps))
    return MemoryPlan(size, int(left(size, kept) / each), kept)


def plan_evaluation_memory(
    free: int, size: Size, easel: TransferLoss, each: float
) -> MemoryPlan | None:
    """How a picture of a size can be looked at once, without a gradient, in so many bytes; None where it cannot."""
    each /= 1 + BACKWARD_OVERHEAD
    pixels = size[0] * size[1]
    rest = free - max(
        pixels * (LIVE_IMAGES_EVALUATING * BYTES_PER_PIXEL + content_bytes_per_pixel(easel)),
        LIVE_STYLE_IMAGES * BYTES_PER_PIXEL * easel.max_style_pixels(size),
    )
    return (
        MemoryPlan(size, int(rest / each), 0)
        if rest >= each * min(pixels, MIN_TILE_PIXELS)
        else None
    )


def content_bytes_per_pixel(easel: TransferLoss) -> float:
    """Bytes a pixel of the photograph's maps."""
    return (
        4
        * easel.encoder.num_filters(easel.spec.content_layer)
        / relu_stride(easel.spec.content_layer) ** 2
    )


def measure_bytes_per_pixel(easel: TransferLoss) -> float:
    """Bytes a pixel that is looked at: what is kept for the gradient of a small picture, and what is needed beside on
    the way back, which was 0.2 to 1.0 times as much for four networks."""
    kept, weights = dict[int, int](), {one.shape for one in easel.encoder.parameters()}

    def pack(x: Tensor) -> Tensor:
        if (
            x.shape not in weights
        ):  # these are there anyway, and as bfloat16 do not grow with the picture
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    parameter = next(easel.encoder.parameters())
    x = torch.zeros(
        1,
        3,
        PROBE_SIDE,
        PROBE_SIDE,
        device=parameter.device,
        dtype=parameter.dtype,
        requires_grad=True,
    )
    (whole,) = make_tiles((PROBE_SIDE, PROBE_SIDE), PROBE_SIDE**2, 0, 1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        maps = easel.compute_feature_maps(x, whole)
        sums = [
            *easel.compute_grams(maps, (PROBE_SIDE, PROBE_SIDE)),
            maps[easel.spec.content_layer].float().square().sum(),
        ]
    del sums
    return (1 + BACKWARD_OVERHEAD) * sum(kept.values()) / PROBE_SIDE**2
