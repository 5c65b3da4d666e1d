"""A feed-forward network that transfers one style (Johnson, Alahi & Fei-Fei 2016).

Instance normalization (Ulyanov et al. 2016), reflection padding, and an enlargement before a
convolution in place of a transposed one, which would draw checkerboards (Odena et al. 2016). The
enlargement is bilinear: nearest-neighbor left a grid of 4 pixels after short trainings. The network
works at half and quarter resolution, and only its last convolution at the full one.

Its output is not added to the content image: trainings that started near it, with its logits added
to the last convolution's output, stayed near it in color and stroke for 400 steps.
"""

from collections import OrderedDict
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.models.layers import ImageShape, named_sequential

STRIDE = 4  # pixels between two positions of the deepest maps
MIN_SIDE = 16  # pixels: below, maps are too small to be reflected


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalization with scale and shift; `statistics`, a mean and a variance of each
    channel (K,), replace those of the input, as those of the whole image do for a tile."""

    statistics: tuple[Tensor, Tensor] | None = None

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.statistics is None:
            return super().forward(x)
        return F.batch_norm(x, *self.statistics, self.weight, self.bias, eps=self.eps)


class ResidualBlock(nn.Module):
    """(N, K, H, W) -> the same shape: two convolutions beside an identity (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            make_conv(channels, channels, 3),
            InstanceNorm(channels),
            nn.ReLU(inplace=True),
            make_conv(channels, channels, 3),
            InstanceNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class StyleNetwork(nn.Sequential):
    """RGB images (N, 3, H, W) in 0..1 -> stylized images of the same shape and range.

    Raises ValueError for a side below MIN_SIDE.
    """

    def __init__(self, width: int, blocks: int) -> None:
        layers = dict[str, nn.Module](
            unshuffle=nn.PixelUnshuffle(2),
            encode_1=make_layer(12, width, 5),
            encode_2=make_layer(width, 2 * width, 3, stride=2),
            **{f"block_{number}": ResidualBlock(2 * width) for number in range(1, blocks + 1)},
            enlarge_1=nn.Upsample(scale_factor=2, mode="bilinear"),
            decode_1=make_layer(2 * width, width, 3),
            decode_2=make_layer(width, width // 2, 3),
            enlarge_2=nn.Upsample(scale_factor=2, mode="bilinear"),
            output=make_conv(width // 2, 3, 5),
            range=nn.Sigmoid(),
        )
        super().__init__(OrderedDict(layers))

    @property
    def norms(self) -> list[InstanceNorm]:
        """The normalizations, in the order in which they are computed."""
        return [module for module in self.modules() if isinstance(module, InstanceNorm)]

    @property
    def receptive_radius(self) -> int:
        """Pixels around one of the output that it depends on, apart from the normalizations."""
        num_blocks = sum(isinstance(layer, ResidualBlock) for layer in self)
        # Half a kernel of each convolution, times its pixels, and a position of each enlargement.
        return 2 * 2 + 2 + 1 + num_blocks * 2 * 4 + 4 + 2 + 2 + 2 + 2

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if min(height, width) < MIN_SIDE:
            raise ValueError(
                f"{width}x{height} pixels are too few: each side needs at least {MIN_SIDE}"
            )
        return super().forward(pad_to_stride(x))[..., :height, :width]


def make_conv(inputs: int, outputs: int, extent: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with reflection padding."""
    return nn.Conv2d(inputs, outputs, extent, stride, extent // 2, padding_mode="reflect")


def make_layer(inputs: int, outputs: int, extent: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution, instance normalization and ReLU."""
    return named_sequential(
        conv=make_conv(inputs, outputs, extent, stride),
        norm=InstanceNorm(outputs),
        relu=nn.ReLU(inplace=True),
    )


def pad_to_stride(x: Tensor) -> Tensor:
    """Return (N, K, H, W) reflected below and to the right, to multiples of STRIDE."""
    down, right = (-side % STRIDE for side in x.shape[-2:])
    return F.pad(x, (0, right, 0, down), mode="reflect") if down or right else x


def style_network(
    shape: ImageShape,
    classes: int,
    *,
    width: int,
    blocks: int,
    style: str | None,
    style_scale: float,
    margin: int,
    features: dict[str, Any],
    loss: dict[str, Any],
) -> StyleNetwork:
    """Build a style network: `width` maps at half resolution, `blocks` residual blocks with twice
    as many at a quarter.

    The other keys are what it is trained with. Raises ValueError for images that are not RGB of at
    least MIN_SIDE pixels, and for numbers out of range.
    """
    if shape[0] != 3 or min(shape[1:]) < MIN_SIDE:
        size = "x".join(map(str, shape))
        raise ValueError(f"it takes color images of at least {MIN_SIDE} pixels, not {size}")
    if width < 2 or width % 2 or blocks < 1:
        raise ValueError(
            f"width must be even and above 0, blocks at least 1, not {width} and {blocks}"
        )
    if not 0 < style_scale < float("inf") or margin < 0:
        raise ValueError(
            f"style_scale must be above 0, margin at least 0, not {style_scale} and {margin}"
        )
    return StyleNetwork(width, blocks)
