"""What a transfer takes of memory, and what is given up where there is less: looking at a picture in one go first, then
past steps of L-BFGS, then pixels."""

from bisect import bisect
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.style.scales import Size, fitted
from cnnlab.style.tiled_loss import Easel
from cnnlab.style.tiling import pieces
from cnnlab.style.vgg import stride

PIXEL = 12  # bytes of an RGB pixel of float32
ARRAYS = 10  # pictures at once: itself, its gradient, a step and where it leads, and what comes of them
LOOKED = 4  # of one that is only looked at: its file's pixels, what becomes of them, and a piece of it
PAINTINGS = 4  # and of one as large as the painting, when that is looked at
PAST = 2 * PIXEL  # bytes a pixel of one past step
BACK = 1.3  # of what is kept for a gradient: beside it, while it is taken
FEW = 5  # past steps that L-BFGS keeps at least, where it was given more
TRIED = 128  # pixels of the side of a picture that is looked at to see what one takes
WORKABLE = 1 << 18  # pixels of a piece; in smaller ones what is around it is most of the work


@dataclass(frozen=True)
class Room:
    """The picture's size, the most pixels to look at in one go, and the past steps to keep, that memory holds."""

    size: Size
    piece: int
    past: int


def room(free: int, own: Size, longest: int, easel: Easel, past: int, each: float) -> Room | None:
    """How a photograph of its `own` size can be painted with a longer side of so many pixels in so many bytes; `past`:
    steps that are to be kept, 0 for a method that keeps none; `each`: bytes a pixel that is looked at. A smaller one
    where it cannot be, and None where not even the smallest can."""
    least = min(past, FEW)

    def left(size: Size, past: int) -> float:
        """For looking at it."""
        pictures = size[0] * size[1] * (ARRAYS * PIXEL + past * PAST + content(easel))
        return free - max(pictures, PAINTINGS * PIXEL * easel.largest_painting(size))

    def holds(size: Size, past: int = least) -> bool:
        return left(size, past) >= each * min(size[0] * size[1], WORKABLE)

    size = fitted(own, longest)
    if not holds(size):  # nor then any larger one
        sides = range(1, max(size))
        size = fitted(own, max(1, bisect(sides, 0, key=lambda side: not holds(fitted(own, side)))))
        if not holds(size):
            return None
    kept = next(steps for steps in range(past, -1, -1) if holds(size, steps))
    return Room(size, int(left(size, kept) / each), kept)


def to_look(free: int, size: Size, easel: Easel, each: float) -> Room | None:
    """How a picture of a size can be looked at once, without a gradient, in so many bytes; None where it cannot."""
    each /= 1 + BACK
    pixels = size[0] * size[1]
    rest = free - max(pixels * (LOOKED * PIXEL + content(easel)), PAINTINGS * PIXEL * easel.largest_painting(size))
    return Room(size, int(rest / each), 0) if rest >= each * min(pixels, WORKABLE) else None


def content(easel: Easel) -> float:
    """Bytes a pixel of the photograph's maps."""
    return 4 * easel.encoder.filters(easel.aim.content_layer) / stride(easel.aim.content_layer) ** 2


def looked_at(easel: Easel) -> float:
    """Bytes a pixel that is looked at: what is kept for the gradient of a small picture, and what is needed beside on
    the way back, which was 0.2 to 1.0 times as much for four networks."""
    kept, weights = dict[int, int](), {one.shape for one in easel.encoder.parameters()}

    def pack(x: Tensor) -> Tensor:
        if x.shape not in weights:  # these are there anyway, and as bfloat16 do not grow with the picture
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    parameter = next(easel.encoder.parameters())
    x = torch.zeros(1, 3, TRIED, TRIED, device=parameter.device, dtype=parameter.dtype, requires_grad=True)
    (whole,) = pieces((TRIED, TRIED), TRIED**2, 0, 1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        maps = easel.maps(x, whole)
        sums = [*easel.grams(maps, (TRIED, TRIED)), maps[easel.aim.content_layer].float().square().sum()]
    del sums
    return (1 + BACK) * sum(kept.values()) / TRIED**2
