"""VGG's convolutions as a style loss wants them: a picture in, the maps behind named ReLUs out."""

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor, nn

from cnnlab.core.errors import UsageError

CONV_NAME = re.compile(r"conv([1-9])_([1-9])")
# Convolutions in each block (Simonyan & Zisserman 2014, table 1, D and E), and their filters.
CONVS_PER_BLOCK = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
FILTERS_PER_BLOCK = (64, 128, 256, 512, 512)


@dataclass(frozen=True, kw_only=True)
class VGGConvention:
    """What a network wants its input to be, and how it pads and pools. `mean` and `std` are of the channels in the
    network's own order and range."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    range: Literal["0..1", "0..255"]
    color: Literal["RGB", "BGR"]
    padding: Literal["zeros", "reflect"]
    pool: Literal["max", "average"]


# What torchvision's own weights were trained with.
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
    """A VGG without its head. Layers have the paper's names: conv3_2 is the second convolution of the third block,
    relu3_2 what follows it, pool3 what ends the block."""

    mean: Tensor
    std: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], convention: VGGConvention) -> None:
        """`tensors`: conv<b>_<c>.weight and .bias, whose shapes say how wide the network is, and names how deep. Raises
        ValueError for tensors that are no such network."""
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
        """Pixels that a picture's shorter side must have."""
        pools = sum(name.startswith("pool") for name, _ in self.layers.named_children())
        return int(2**pools) * (2 if self.convention.padding == "reflect" else 1)

    def num_filters(self, name: str) -> int:
        """Maps that a ReLU puts out."""
        return len(self.get_parameter(f"layers.{name.replace('relu', 'conv')}.bias"))

    def receptive_radius(self, names: Collection[str]) -> int:
        """Pixels around a place of the deepest of these ReLUs, on each side, that it sees: sum of the convolutions'
        strides."""
        deepest, reach = max(names), 0
        for name in self.relu_names:
            reach += relu_stride(name)
            if name == deepest:
                break
        return reach

    def normalize(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..1 -> what the first convolution takes."""
        x = x if self.convention.color == "RGB" else x.flip(1)
        return (x * (255 if self.convention.range == "0..255" else 1) - self.mean) / self.std

    def check_input(self, names: Collection[str], size: Sequence[int]) -> None:
        """Raises UsageError for a ReLU that there is not, or a (H, W) of fewer than `least` pixels a side."""
        for name in names:
            if name not in self.relu_names:
                raise UsageError(f"layer {name!r} is not one of {', '.join(self.relu_names)}")
        if min(size) < self.min_size:
            raise UsageError(
                f"{size[1]}x{size[0]} pixels are too few: {self.min_size} a side are needed"
            )

    def forward(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """(N, 3, H, W) RGB in 0..1 -> {"relu1_1": (N, K, H, W), "relu2_1": (N, K, H/2, W/2), ...}, sizes rounded down.
        Raises UsageError as `check` does."""
        self.check_input(names, x.shape[2:])
        found: dict[str, Tensor] = {}
        x = self.normalize(x)
        for name, module in self.layers.named_children():
            if len(found) == len(set(names)):
                break
            x = module(x)
            if name in names:
                found[name] = x
        return found


def list_conv_names(tensors: Mapping[str, Tensor]) -> list[str]:
    """The convolutions' names, first to last. Raises ValueError, naming the first, for what is no VGG's."""
    names = sorted({key.rpartition(".")[0] for key in tensors})
    before, depth = (1, 0), 3
    for name in names:
        found = CONV_NAME.fullmatch(name)
        place = (int(found[1]), int(found[2])) if found else (0, 0)
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
    """Pixels between two places of a ReLU's maps."""
    return int(2 ** (int(name[4]) - 1))


def make_vgg_conv(weight: Tensor, bias: Tensor, padding: Literal["zeros", "reflect"]) -> nn.Conv2d:
    with torch.device("meta"):
        made = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, padding_mode=padding)
    made.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return made


def conv_channels(
    blocks: Collection[int], filters: Collection[int] = FILTERS_PER_BLOCK
) -> dict[str, tuple[int, int]]:
    """{"conv1_1": (3, 64), ...}: each convolution's channels in and out."""
    found, depth = dict[str, tuple[int, int]](), 3
    for b, (count, width) in enumerate(zip(blocks, filters, strict=True), 1):
        for c in range(1, count + 1):
            found[f"conv{b}_{c}"], depth = (depth, width), width
    return found


def init_random_vgg(
    channels: Mapping[str, tuple[int, int]], generator: torch.Generator
) -> dict[str, Tensor]:
    """Weights that have learned nothing: N(0, 2 / fan_in) (He et al. 2015), zero biases."""
    found: dict[str, Tensor] = {}
    for name, (depth, width) in channels.items():
        found[f"{name}.weight"] = (
            torch.randn(width, depth, 3, 3, generator=generator) * (2 / (9 * depth)) ** 0.5
        )
        found[f"{name}.bias"] = torch.zeros(width)
    return found
