"""torchvision's RandAugment (Cubuk et al. 2020) on a whole batch.

The results are torchvision's, bit for bit. The choices are made on the CPU, and images with the
same choice are transformed together, so that a GPU neither waits nor is called for each image.
"""

from collections.abc import Sequence
from functools import cache
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.device import copy_without_waiting
from cnnlab.data.geometric import require_at_least_one
from cnnlab.data.operation import Op, as_float, as_uint8

Choice = tuple[str, float]  # torchvision's name of an operation, and its magnitude with sign
# They sample the nearest pixel: each pixel of the result is one of the image, or zero.
MOVING_OPERATIONS = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def randaugment(*, num_ops: int, magnitude: int) -> Op:
    """Return torchvision's RandAugment: `num_ops` of its operations in sequence on each image, of a
    `magnitude` from 0 to 30."""
    from torchvision.transforms import RandAugment

    transform = RandAugment(require_at_least_one("num_ops", num_ops), magnitude)
    if not 0 <= magnitude < transform.num_magnitude_bins:
        raise ValueError(
            f"magnitude must be at least 0 and below {transform.num_magnitude_bins}, "
            f"not {magnitude}"
        )

    @cache
    def get_operations(size: tuple[int, int]) -> list[tuple[str, float, bool]]:
        """Return (name, magnitude, whether the sign is random) for images of (height, width)."""
        space = transform._augmentation_space(transform.num_magnitude_bins, size)
        return [
            (name, float(values[magnitude]) if values.ndim else 0.0, is_signed)
            for name, (values, is_signed) in space.items()
        ]

    def apply(x: Tensor, u: Tensor) -> Tensor:
        images, operations = as_uint8(x), get_operations((x.shape[2], x.shape[3]))
        seeds = (u[:, 0] * 2**24).long().tolist()
        choices = [draw_choices(seed, operations, num_ops) for seed in seeds]
        for number in range(num_ops):
            images = apply_choices(images, [drawn[number] for drawn in choices])
        return images if x.dtype == torch.uint8 else as_float(images)

    return Op(1, apply, supports_uint8=True, draws_on_cpu=True)


def draw_choices(
    seed: int, operations: Sequence[tuple[str, float, bool]], num_ops: int
) -> list[Choice]:
    """Return the operations of one image, drawn as torchvision does."""
    rng, choices = torch.Generator().manual_seed(seed), []
    for _ in range(num_ops):
        number = int(torch.randint(len(operations), (1,), generator=rng))
        name, magnitude, is_signed = operations[number]
        if is_signed and torch.randint(2, (1,), generator=rng):
            magnitude = -magnitude
        choices.append((name, magnitude))
    return choices


def apply_choices(images: Tensor, choices: Sequence[Choice]) -> Tensor:
    """Return (N, C, H, W) uint8 images, each after its own choice."""
    order = sorted(range(len(choices)), key=choices.__getitem__)
    position = sorted(range(len(choices)), key=order.__getitem__)  # of each image in `order`
    to_groups, back = copy_without_waiting(torch.tensor([order, position]), images.device)
    groups = [(choice, len(list(same))) for choice, same in groupby(choices[i] for i in order)]
    parts = images.index_select(0, to_groups).split([count for _, count in groups])
    changed = [apply_choice(part, choice) for part, (choice, _) in zip(parts, groups, strict=True)]
    return torch.cat(changed).index_select(0, back)


def apply_choice(images: Tensor, choice: Choice) -> Tensor:
    """Return (N, C, H, W) uint8 images after an operation of torchvision's."""
    from torchvision.transforms.autoaugment import _apply_op
    from torchvision.transforms.functional import InterpolationMode

    name, magnitude = choice
    if name in MOVING_OPERATIONS:
        sources = find_source_pixels(choice, images.shape[2], images.shape[3], images.device)
        padded = F.pad(images.flatten(2), (1, 0))
        return padded.gather(2, sources.expand(*images.shape[:2], -1)).view(images.shape)
    if name == "Equalize":
        return equalize(images)
    if name == "AutoContrast":
        return autocontrast(images)
    if name == "Sharpness":
        return sharpen(images, 1 + magnitude)
    return _apply_op(images, name, magnitude, InterpolationMode.NEAREST, None)


@cache
def find_source_pixels(choice: Choice, height: int, width: int, device: torch.device) -> Tensor:
    """Return the (height * width,) numbers, from 1, of the pixels that an operation moves to each
    place; 0 where it leaves zeros."""
    from torchvision.transforms.autoaugment import _apply_op
    from torchvision.transforms.functional import InterpolationMode

    with torch.inference_mode(False):  # cached; a later call may be outside of it
        # Rows and columns by themselves: float32 holds no more than 2^24 numbers of pixels.
        places = torch.ones(height, width).nonzero().add(1).float().T.view(1, 2, height, width)
        moved = _apply_op(places, *choice, InterpolationMode.NEAREST, None)
        row, column = moved.long().flatten(2).squeeze(0)
        return ((row - 1) * width + column).clamp(min=0).to(device)


def equalize(images: Tensor) -> Tensor:
    """Return uint8 images with the histogram of each channel equalized, as torchvision does.

    torchvision's histogram on a GPU has no deterministic version, and each channel's waits.
    """
    channels = images.flatten(2).flatten(0, 1)  # (N * C, H * W)
    levels = channels.long()
    ones = levels.new_ones(()).expand_as(levels)
    counts = levels.new_zeros(len(levels), 256).scatter_add_(1, levels, ones)
    of_highest = counts.gather(1, levels.amax(1, keepdim=True))
    step = (levels.shape[1] - of_highest).div(255, rounding_mode="floor")
    divisor = step.clamp(min=1)
    ranks = (counts.cumsum(1) + step.div(2, rounding_mode="floor")) // divisor
    table = F.pad(ranks, (1, 0))[:, :-1].clamp(0, 255).to(torch.uint8)
    return torch.where(step == 0, channels, table.gather(1, levels)).view(images.shape)


def autocontrast(images: Tensor) -> Tensor:
    """Return uint8 images with each channel stretched to 0..255, as torchvision does; a channel of
    one value stays as it is."""
    low, high = (reduce((2, 3), keepdim=True).float() for reduce in (images.amin, images.amax))
    is_flat = low == high
    scale = (255 / (high - low)).masked_fill_(is_flat, 1)
    return ((images - low.masked_fill_(is_flat, 0)) * scale).clamp_(0, 255).to(torch.uint8)


def sharpen(images: Tensor, factor: float) -> Tensor:
    """Return uint8 images blended with their blur, by 1 - `factor`, as torchvision does.

    The blur's weights are 1 and 5 of 13: its sums of integers are exact on every device.
    """
    if min(images.shape[2:]) <= 2:
        return images
    x = images.float()
    blurred = x.clone()
    inner = blurred[:, :, 1:-1, 1:-1].mul_(4)
    for row in range(3):
        for column in range(3):
            inner += x[:, :, row : row + inner.shape[2], column : column + inner.shape[3]]
    inner.div_(13).round_()
    return (factor * x + (1.0 - factor) * blurred).clamp_(0, 255).to(torch.uint8)
