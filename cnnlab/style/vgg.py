"""The convolutions of VGG: an image in, the feature maps of named ReLUs out."""

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor, nn

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable
from cnnlab.style.torus import convolve_wrapped

CONV_NAME = re.compile(r"conv([1-9])_([1-9])")
# Convolutions in each block (Simonyan & Zisserman 2014, table 1, D and E), and their filters.
CONVS_PER_BLOCK = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
FILTERS_PER_BLOCK = (64, 128, 256, 512, 512)


@dataclass(frozen=True, kw_only=True)
class VGGConvention:
    """A network's input normalization, padding and pooling.

    `mean` and `std` are per channel, in the network's own order and range.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    range: Literal["0..1", "0..255"]
    color: Literal["RGB", "BGR"]
    padding: Literal["zeros", "reflect"]
    pool: Literal["max", "average"]


# Of torchvision's weights.
TORCHVISION_CONVENTION = VGGConvention(
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    range="0..1",
    color="RGB",
    padding="zeros",
    pool="max",
)
VGG_POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class VGGFeatures(nn.Module):
    """A VGG without its head, with the paper's layer names.

    conv3_2 is the second convolution of the third block, relu3_2 follows it, pool3 ends the block.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], convention: VGGConvention) -> None:
        """`tensors`: conv<b>_<c>.weight and .bias; shapes give the width, names the depth.

        Raises ValueError for tensors of another kind of network.
        """
        super().__init__()
        self.convention, layers = convention, OrderedDict[str, nn.Module]()
        names = list_conv_names(tensors)
        for block, inside in groupby(names, key=lambda name: name[4]):
            if block != "1":
                layers[f"pool{int(block) - 1}"] = VGG_POOLS[convention.pool](2)
            for name in inside:
                layers[name] = make_vgg_conv(
                    tensors[f"{name}.weight"], tensors[f"{name}.bias"], convention.padding
                )
                layers[name.replace("conv", "relu")] = nn.ReLU(inplace=True)
        self.layers = nn.Sequential(layers)
        self.relu_names = tuple(name for name in layers if name.startswith("relu"))
        self.register_buffer(
            "mean", torch.tensor(convention.mean).view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer("std", torch.tensor(convention.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    @property
    def min_size(self) -> int:
        """Return the pixels that an image's shorter side must have."""
        pools = sum(name.startswith("pool") for name, _ in self.layers.named_children())
        return int(2**pools) * (2 if self.convention.padding == "reflect" else 1)

    def num_filters(self, name: str) -> int:
        """Return the number of a ReLU's feature maps."""
        return len(self.get_parameter(f"layers.{name.replace('relu', 'conv')}.bias"))

    def receptive_radius(self, names: Collection[str]) -> int:
        """Return the radius, in pixels, of the receptive field of the deepest of these ReLUs.

        It is the sum of the convolutions' strides.
        """
        deepest, radius = max(names), 0
        for name in self.relu_names:
            radius += relu_stride(name)
            if name == deepest:
                break
        return radius

    def normalize(self, x: Tensor) -> Tensor:
        """Return (N, 3, H, W) RGB in 0..1 as the first convolution's input."""
        x = x if self.convention.color == "RGB" else x.flip(1)
        return (x * (255 if self.convention.range == "0..255" else 1) - self.mean) / self.std

    def cast_convolutions(self, dtype: torch.dtype) -> "VGGFeatures":
        """Return the network with convolutions of a type; itself if that is theirs."""
        if dtype is self.conv_dtype:
            return self
        encoder = deepcopy(self)
        encoder.layers.to(dtype)
        return encoder

    @property
    def conv_dtype(self) -> torch.dtype:
        """Return the type of the convolutions' weights, and of the maps."""
        return next(self.layers.parameters()).dtype

    def check_input(self, names: Collection[str], size: Sequence[int]) -> None:
        """Raise UsageError for an unknown ReLU, or a (H, W) with a side below `min_size`."""
        for name in names:
            if name not in self.relu_names:
                raise UsageError(f"layer {name!r} is not one of {', '.join(self.relu_names)}")
        if min(size) < self.min_size:
            raise UsageError(
                f"{size[1]}x{size[0]} pixels are too few: each side needs at least {self.min_size}"
            )

    def forward(
        self, x: Tensor, names: Collection[str], *, wrap: bool = False
    ) -> dict[str, Tensor]:
        """Return the named ReLUs' maps of (N, 3, H, W) RGB in 0..1.

        {"relu1_1": (N, K, H, W), "relu2_1": (N, K, H/2, W/2), ...}, sizes rounded down. `wrap`:
        maps are padded with their opposite sides. Raises UsageError as `check_input` does.
        """
        self.check_input(names, x.shape[2:])
        maps: dict[str, Tensor] = {}
        x = self.normalize(x).to(self.conv_dtype)
        for name, module in self.layers.named_children():
            if len(maps) == len(set(names)):
                break
            is_conv = isinstance(module, nn.Conv2d)
            x = convolve_wrapped(module, x) if wrap and is_conv else module(x)
            if name in names:
                maps[name] = x
        return maps


def list_conv_names(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the convolutions' names in order. Raises ValueError for the first that is no VGG's."""
    names = sorted({key.rpartition(".")[0] for key in tensors})
    if names and not any(CONV_NAME.fullmatch(name) for name in names):
        raise ValueError(f"it is not a VGG: it holds {printable(names[0])[:60]}, not conv1_1")
    before, depth = (1, 0), 3
    for name in names:
        match = CONV_NAME.fullmatch(name)
        place = (int(match[1]), int(match[2])) if match else (0, 0)
        if place not in ((before[0], before[1] + 1), (before[0] + 1, 1)) or (
            place == (2, 1) and before == (1, 0)
        ):
            raise ValueError(
                f"{name} is not the convolution that follows conv{before[0]}_{before[1]}"
            )
        weight, bias = (tensors.get(f"{name}.{part}") for part in ("weight", "bias"))
        if (
            weight is None
            or bias is None
            or bias.ndim != 1
            or weight.shape != (len(bias), depth, 3, 3)
        ):
            shape = None if weight is None else tuple(weight.shape)
            raise ValueError(
                f"{name}.weight is of {shape}, not of (filters, {depth}, 3, 3) with a bias for each"
            )
        before, depth = place, len(bias)
    if not names:
        raise ValueError("it holds no convolutions")
    return names


def relu_stride(name: str) -> int:
    """Return the pixels between two positions of a ReLU's maps."""
    return int(2 ** (int(name[4]) - 1))


def make_vgg_conv(weight: Tensor, bias: Tensor, padding: Literal["zeros", "reflect"]) -> nn.Conv2d:
    """Return a 3x3 convolution that holds these tensors."""
    with torch.device("meta"):
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, padding_mode=padding)
    conv.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return conv


def conv_channels(
    blocks: Collection[int], filters: Collection[int] = FILTERS_PER_BLOCK
) -> dict[str, tuple[int, int]]:
    """Return each convolution's channels in and out: {"conv1_1": (3, 64), ...}."""
    channels, depth = dict[str, tuple[int, int]](), 3
    for b, (count, width) in enumerate(zip(blocks, filters, strict=True), 1):
        for c in range(1, count + 1):
            channels[f"conv{b}_{c}"], depth = (depth, width), width
    return channels


def init_random_vgg(
    channels: Mapping[str, tuple[int, int]], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return untrained weights, N(0, 2 / fan_in) (He et al. 2015), and zero biases."""
    tensors: dict[str, Tensor] = {}
    for name, (depth, width) in channels.items():
        tensors[f"{name}.weight"] = (
            torch.randn(width, depth, 3, 3, generator=generator) * (2 / (9 * depth)) ** 0.5
        )
        tensors[f"{name}.bias"] = torch.zeros(width)
    return tensors
