"""A convolutional network that trains fast: a fixed whitening layer, then groups of convolutions
initialized close to the identity (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
whose code is airbench)."""

import itertools
import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from cnnlab.models.layers import ImageShape, batch_norm_kwargs, named_sequential


class PatchWhitening(nn.Conv2d):
    """(N, C, H, W) -> (N, 2 C s^2, H - s + 1, W - s + 1): the principal components of the s x s
    patches, each scaled to a variance of v / (v + eps), and the same with the opposite sign.

    The weights are not trained: `fit` computes them from images. They are zero before.
    """

    def __init__(self, depth: int, patch_size: int, eps: float) -> None:
        super().__init__(depth, 2 * depth * patch_size**2, patch_size, bias=False)
        self.weight.requires_grad_(False)
        self.eps = eps

    def initialize(self, rng: torch.Generator) -> None:
        """Keep the weights: they are not random."""

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Compute the weights from the network's (N, C, H, W) input images."""
        size = self.kernel_size[0]
        patches = nn.functional.unfold(images.double(), size).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = vectors.T / (values + self.eps).sqrt().unsqueeze(1)
        filters = filters.flip(0).view(-1, *self.weight.shape[1:])  # largest variance first
        self.weight.copy_(torch.cat((filters, -filters)))


class DiracConv(nn.Conv2d):
    """A 3x3 convolution whose first filters copy its input maps at initialization, as far as there
    are as many; the other weights are uniform in ±1 / sqrt(fan_in), torch's default."""

    def __init__(self, depth: int, filters: int) -> None:
        super().__init__(depth, filters, 3, padding=1, bias=False)

    @torch.no_grad()
    def initialize(self, rng: torch.Generator) -> None:
        """Draw the weights."""
        limit = self.weight[0].numel() ** -0.5
        self.weight.uniform_(-limit, limit, generator=rng)
        nn.init.dirac_(self.weight[: self.in_channels])


class SmallLinear(nn.Linear):
    """A fully connected layer without bias whose logits are small at initialization: its weights
    are from N(0, 1 / inputs^2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    @torch.no_grad()
    def initialize(self, rng: torch.Generator) -> None:
        """Draw the weights."""
        self.weight.normal_(0, 1 / self.in_features, generator=rng)


class Residual(nn.Sequential):
    """The sum of the input and the layers' output."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def fast_cnn(
    shape: ImageShape,
    classes: int,
    *,
    patch_size: int,
    whitening_eps: float,
    widths: list[int],
    convs: int,
    batch_norm: dict[str, float],
) -> nn.Sequential:
    """Build (N, *shape) images -> (N, classes) logits: patch whitening, a group of `convs`
    convolutions with max pooling after the first for each of `widths`, global max pooling.

    `whitening_eps`: added to the variances of the patches' components, in units of the input.
    `convs`: 2, or 3 with a residual connection over the last two, as in airbench96. Batch
    normalization ({decay, eps}) has shifts, but no scales. Raises ValueError for an image that is
    too small.
    """
    if not 0 < whitening_eps < math.inf:
        raise ValueError(f"whitening_eps must be above 0, not {whitening_eps}")
    if convs not in (2, 3):
        raise ValueError(f"convs must be 2 or 3, not {convs}")
    depth, height, width = shape
    size = min(height, width) - patch_size + 1
    if size >> len(widths) < 1:
        raise ValueError(
            f"{len(widths)} poolings leave nothing of {height}x{width} pixels; use fewer widths"
        )
    channels = [2 * depth * patch_size**2, *widths]
    groups = {
        f"group_{number}": conv_group(before, after, convs, batch_norm)
        for number, (before, after) in enumerate(itertools.pairwise(channels), 1)
    }
    return named_sequential(
        whiten=named_sequential(
            conv=PatchWhitening(depth, patch_size, whitening_eps), gelu=nn.GELU()
        ),
        **groups,
        pool=nn.AdaptiveMaxPool2d(1),
        flatten=nn.Flatten(),
        output=SmallLinear(channels[-1], classes),
    )


def conv_group(depth: int, filters: int, convs: int, batch_norm: dict[str, float]) -> nn.Sequential:
    """Build (N, depth, H, W) -> (N, filters, H // 2, W // 2)."""

    def norm() -> nn.BatchNorm2d:
        layer = nn.BatchNorm2d(filters, **batch_norm_kwargs(**batch_norm))  # type: ignore[arg-type]
        layer.weight.requires_grad_(False)
        return layer

    first = {"conv_1": DiracConv(depth, filters), "pool": nn.MaxPool2d(2), "norm_1": norm()}
    second = {"conv_2": DiracConv(filters, filters), "norm_2": norm()}
    if convs == 2:
        return named_sequential(**first, gelu_1=nn.GELU(), **second, gelu_2=nn.GELU())
    third = {"conv_3": DiracConv(filters, filters), "norm_3": norm()}
    residual = Residual(OrderedDict(**second, gelu_2=nn.GELU(), **third))
    return named_sequential(**first, gelu_1=nn.GELU(), residual=residual, gelu_3=nn.GELU())
