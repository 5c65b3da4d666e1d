"""Operations on the values of pixels: each image of a batch by numbers of its own.

Brightness, contrast, saturation and hue are those of the chapter, TensorFlow's; like them they do not cut off what
leaves the range 0..1. torchvision's of the same names multiply brightness, take contrast about the mean of the gray
image, mix with it for saturation, and cut off.
"""

from functools import cache

import torch
from torch import Tensor

from cnnlab.data.operation import Op


def normalize(*, mean: list[float], std: list[float]) -> Op:
    """(x - mean) / std, a number each for every channel, in units of the full range 0..1."""
    if len(mean) != len(std) or not all(one > 0 for one in std):
        raise ValueError(f"mean and std must be of one length, std above 0, not {mean} and {std}")

    @cache
    def constants(device: torch.device) -> list[Tensor]:
        with torch.inference_mode(False):  # they are kept, and a gradient may flow past them later
            return [torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (mean, std)]

    def apply(x: Tensor, u: Tensor) -> Tensor:
        if x.shape[1] != len(mean):
            raise ValueError(f"normalize has {len(mean)} channels, the images {x.shape[1]}")
        center, width = constants(x.device)
        return x.sub_(center).div_(width)

    return Op(0, apply)


def whiten() -> Op:
    """(x - mean) / max(deviation, 1 / sqrt(n)) of each image's own n values, as `tf.image.per_image_whitening` has it
    for values of 0 to 255: the floor, of a gray level's 1 / sqrt(n), makes a flat image zeros."""

    def apply(x: Tensor, u: Tensor) -> Tensor:
        x = x.sub_(
            x[:, :1, :1, :1].clone()
        )  # first: the mean of many equal values is not always that value
        x = x.sub_(x.mean((1, 2, 3), keepdim=True))
        count = x[0].numel()
        deviation = x.square().mean((1, 2, 3), keepdim=True).sqrt_()
        return x / deviation.clamp(
            min=1 / (255 * count**0.5)
        )  # not in place: the deviation's gradient needs x

    return Op(0, apply)


def scale_uniform(low: float, high: float, u: Tensor) -> Tensor:
    """(N, 1) uniform numbers in [0, 1) -> (N, 1, 1, 1) in [low, high)."""
    return (low + (high - low) * u).view(-1, 1, 1, 1)


def brightness(*, levels: float) -> Op:
    """A number between -`levels` and `levels` of 255 added to each image."""
    if not levels >= 0:
        raise ValueError(f"levels must be at least 0, not {levels}")
    return Op(1, lambda x, u: x.add_(scale_uniform(-levels / 255, levels / 255, u)))


def check_factor_range(lower: float, upper: float) -> None:
    """Raises ValueError where they are no range of factors."""
    if not 0 <= lower <= upper:
        raise ValueError(
            f"lower and upper must be at least 0, lower first, not {lower} and {upper}"
        )


def contrast(*, lower: float, upper: float) -> Op:
    """Each channel's distance from its own mean times a factor between `lower` and `upper`, one for all channels."""
    check_factor_range(lower, upper)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x.sub_(mean).mul_(scale_uniform(lower, upper, u)).add_(mean)

    return Op(1, apply)


def check_rgb(x: Tensor, name: str) -> None:
    """Raises ValueError where there are not three channels."""
    if x.shape[1] != 3:
        raise ValueError(f"{name} takes color images, of 3 channels, and these have {x.shape[1]}")


def saturation(*, lower: float, upper: float) -> Op:
    """The saturation S of HSV times a factor between `lower` and `upper`, at most 1, hue and value kept: a channel's
    distance from the largest, V, is S times V."""
    check_factor_range(lower, upper)

    def apply(x: Tensor, u: Tensor) -> Tensor:
        check_rgb(x, "saturation")
        value = x.amax(1, keepdim=True)
        chroma = value - x.amin(1, keepdim=True)
        most = torch.where(chroma > 0, value / chroma, 1)  # the factor that brings S to 1
        return value - (value - x) * torch.minimum(
            scale_uniform(lower, upper, u), most.clamp(min=0)
        )

    return Op(1, apply)


def hue(*, turns: float) -> Op:
    """The hue of HSV turned by up to `turns` of the whole circle either way, saturation and value kept."""
    if not 0 <= turns <= 0.5:
        raise ValueError(f"turns must be between 0 and 0.5, not {turns}")

    def apply(x: Tensor, u: Tensor) -> Tensor:
        check_rgb(x, "hue")
        red, green, blue = x.unbind(1)
        value, lowest = x.amax(1), x.amin(1)
        chroma = value - lowest
        safe = torch.where(chroma > 0, chroma, 1)
        sixth = torch.where(
            value == red,
            (green - blue) / safe,
            torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
        )
        turned = sixth + 6 * scale_uniform(-turns, turns, u).view(-1, 1, 1)
        channels = []
        for offset in (
            5,
            3,
            1,
        ):  # red, green, blue: how far each is from the largest, by the hexagon's sides
            k = (turned + offset) % 6
            channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
        return torch.stack(channels, 1)

    return Op(1, apply)
