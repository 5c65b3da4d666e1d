"""Operations on pixel values, each image of a batch with its own random numbers.

Brightness, contrast, saturation and hue are TensorFlow's, as in the chapter: they do not clip
values outside 0..1. torchvision's multiply brightness, compute contrast about the mean of the gray
image, mix with the gray image for saturation, and clip.
"""

from functools import cache

import torch
from torch import Tensor

from cnnlab.data.operation import Op


def normalize(*, mean: list[float], std: list[float]) -> Op:
    """Return the operation (x - mean) / std, with a mean and std for each channel, in 0..1.

    Raises ValueError for lists of different lengths and a std that is not positive.
    """
    if len(mean) != len(std) or not all(value > 0 for value in std):
        raise ValueError(f"mean and std must be of one length, std above 0, not {mean} and {std}")

    @cache
    def constants(device: torch.device) -> list[Tensor]:
        with torch.inference_mode(False):  # cached; a later call may need gradients
            return [torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (mean, std)]

    def apply(x: Tensor, u: Tensor) -> Tensor:
        if x.shape[1] != len(mean):
            raise ValueError(f"normalize has {len(mean)} channels, the images {x.shape[1]}")
        center, width = constants(x.device)
        return x.sub_(center).div_(width)

    return Op(0, apply)


def whiten() -> Op:
    """Return the operation (x - mean) / max(std, 1 / sqrt(n)) over the n values of each image.

    The floor is for values of 0 to 255, as in `tf.image.per_image_whitening`; a flat image becomes
    zeros.
    """

    def apply(x: Tensor, u: Tensor) -> Tensor:
        # Subtract the first pixel: the mean of many equal values may differ from that value.
        x = x.sub_(x[:, :1, :1, :1].clone())
        x = x.sub_(x.mean((1, 2, 3), keepdim=True))
        count = x[0].numel()
        deviation = x.square().mean((1, 2, 3), keepdim=True).sqrt_()
        # Not in place: the gradient of the deviation needs x.
        return x / deviation.clamp(min=1 / (255 * count**0.5))

    return Op(0, apply)


def scale_uniform(low: float, high: float, u: Tensor) -> Tensor:
    """Return (N, 1) uniform numbers in [0, 1) as (N, 1, 1, 1) in [low, high)."""
    return (low + (high - low) * u).view(-1, 1, 1, 1)


def brightness(*, levels: float) -> Op:
    """Return the operation that adds a number in -`levels`..`levels`, of 255, to each image."""
    if not levels >= 0:
        raise ValueError(f"levels must be at least 0, not {levels}")
    return Op(1, lambda x, u: x.add_(scale_uniform(-levels / 255, levels / 255, u)))


def check_factor_range(lower: float, upper: float) -> None:
    """Raise ValueError if they are not a range of factors."""
    if not 0 <= lower <= upper:
        raise ValueError(
            f"lower and upper must be at least 0, lower first, not {lower} and {upper}"
        )


def contrast(*, lower: float, upper: float) -> Op:
    """Return the operation that multiplies each channel's deviation from its mean by a factor in
    `lower`..`upper`, the same for all channels of an image."""
    check_factor_range(lower, upper)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x.sub_(mean).mul_(scale_uniform(lower, upper, u)).add_(mean)

    return Op(1, apply)


def check_rgb(x: Tensor, name: str) -> None:
    """Raise ValueError if there are not three channels."""
    if x.shape[1] != 3:
        raise ValueError(f"{name} takes color images, of 3 channels, and these have {x.shape[1]}")


def saturation(*, lower: float, upper: float) -> Op:
    """Return the operation that multiplies the saturation S of HSV by a factor between `lower` and
    `upper`, to at most 1, and keeps hue and value."""
    check_factor_range(lower, upper)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        check_rgb(x, "saturation")
        value = x.amax(1, keepdim=True)
        chroma = value - x.amin(1, keepdim=True)
        max_factor = torch.where(chroma > 0, value / chroma, 1)  # results in S = 1
        factor = torch.minimum(scale_uniform(lower, upper, u), max_factor.clamp(min=0))
        # (value - x) / value is S times a constant of the hue.
        return value - (value - x) * factor

    return Op(1, apply)


def hue(*, turns: float) -> Op:
    """Return the operation that rotates the hue of HSV by up to `turns` of the full circle either
    way, and keeps saturation and value."""
    if not 0 <= turns <= 0.5:
        raise ValueError(f"turns must be between 0 and 0.5, not {turns}")

    def apply(x: Tensor, u: Tensor) -> Tensor:
        check_rgb(x, "hue")
        red, green, blue = x.unbind(1)
        value, lowest = x.amax(1), x.amin(1)
        chroma = value - lowest
        divisor = torch.where(chroma > 0, chroma, 1)
        sixths = torch.where(  # of the circle
            value == red,
            (green - blue) / divisor,
            torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
        )
        rotated = sixths + 6 * scale_uniform(-turns, turns, u).view(-1, 1, 1)
        channels = []
        for offset in (5, 3, 1):  # of red, green and blue along the sides of the hue hexagon
            k = (rotated + offset) % 6
            channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
        return torch.stack(channels, 1)

    return Op(1, apply)
