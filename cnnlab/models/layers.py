"""The chapter's layers, built from torch's modules, and their initialization."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.core.errors import format_unknown_choice
from cnnlab.core.schema import check_keywords

ImageShape = tuple[int, int, int]  # depth, height, width
BatchNormConfig = (
    Mapping[str, float] | None
)  # {"decay": ..., "eps": ...}, or no batch normalization


def named_sequential(**layers: nn.Module) -> nn.Sequential:
    """Return the layers as a sequence, by name."""
    return nn.Sequential(OrderedDict(layers))


class FractionalMaxPool(nn.Module):
    """(N, C, H, W) -> (N, C, int(H / √2), int(W / √2)) by overlapping 2x2 regions. Their steps of
    one and two pixels are random for each image and channel in training (Graham 2014,
    pseudorandom), and fixed in evaluation."""

    ratio = 1 / math.sqrt(2)

    def forward(self, x: Tensor) -> Tensor:
        fixed = None if self.training else x.new_full((x.shape[0], x.shape[1], 2), 0.5)
        is_deterministic = torch.are_deterministic_algorithms_enabled()
        pooled, indices = F.fractional_max_pool2d(
            x.detach() if is_deterministic else x,
            2,
            output_ratio=(self.ratio, self.ratio),
            return_indices=True,
            _random_samples=fixed,
        )
        if not is_deterministic:
            return pooled
        # torch's gradient is not deterministic on CUDA; that of `gather` is.
        return x.flatten(2).gather(2, indices.flatten(2)).view(pooled.shape)


class PoolingSpec(NamedTuple):
    """A way to reduce the maps of a convolution. Without a module its stride is 2."""

    make_module: Callable[[], nn.Module] | None
    output_size: Callable[[int], int]  # pixels across before -> after
    is_max: bool  # commutes with the ReLU


POOLINGS = {
    "max": PoolingSpec(lambda: nn.MaxPool2d(2), lambda n: n // 2, True),
    "overlapping": PoolingSpec(lambda: nn.MaxPool2d(3, 2, padding=1), lambda n: (n + 1) // 2, True),
    "average": PoolingSpec(lambda: nn.AvgPool2d(2), lambda n: n // 2, False),
    "fractional": PoolingSpec(FractionalMaxPool, lambda n: int(n * FractionalMaxPool.ratio), True),
    "strided": PoolingSpec(None, lambda n: (n + 1) // 2, False),
}


def get_pooling(name: str) -> PoolingSpec:
    """Return a pooling by name. Raises ValueError with the known names."""
    if name not in POOLINGS:
        raise ValueError(format_unknown_choice("pool", name, POOLINGS))
    return POOLINGS[name]


def make_batch_norm(
    kind: type[nn.Module], width: int, norm: BatchNormConfig
) -> dict[str, nn.Module]:
    """Return torch's layer by name, or nothing (Ioffe & Szegedy 2015; the chapter's
    `conv_batch_norm` and `layer_batch_norm`).

    The running moments keep a share `decay` at each step. torch's running variance is the unbiased
    one, n/(n-1) times the chapter's, and is initialized to 1. Raises UsageError for unknown keys,
    ValueError for values out of range."""
    if norm is None:
        return {}
    check_keywords(batch_norm_kwargs, norm, "model.batch_norm")
    return {"norm": kind(width, **batch_norm_kwargs(**norm))}


def batch_norm_kwargs(*, decay: float, eps: float) -> dict[str, float]:
    """Return torch's keywords for the chapter's."""
    if not 0 <= decay < 1 or not 0 < eps < math.inf:
        limits = "decay must be at least 0 and below 1, and eps above 0"
        raise ValueError(f"batch_norm: {limits}, not {decay} and {eps}")
    return {"momentum": 1 - decay, "eps": eps}


def conv_block(
    depth: int, filters: int, extent: int, pool: str, norm: BatchNormConfig
) -> nn.Sequential:
    """Build (N, depth, H, W) -> (N, filters, h, w): filters of an odd `extent` at stride 1 with the
    zero padding that keeps height and width, batch normalization if `norm` is given, ReLU and
    pooling.

    The chapter applies the ReLU before pooling. Max pooling and ReLU commute, exactly and in the
    gradient, and the pooled map is a quarter of the size: here max pooling is first.
    """
    if extent % 2 == 0 or extent < 1:
        raise ValueError(f"extent must be odd, so that padding keeps the size, not {extent}")
    if filters < 1:
        raise ValueError(f"filters must be at least 1, not {filters}")
    pooling = get_pooling(pool)
    stride = 1 if pooling.make_module else 2
    conv = nn.Conv2d(depth, filters, extent, stride=stride, padding=extent // 2)
    relu_layer = {"relu": nn.ReLU(inplace=True)}
    pool_layer = {"pool": pooling.make_module()} if pooling.make_module else {}
    layers = pool_layer | relu_layer if pooling.is_max else relu_layer | pool_layer
    return named_sequential(conv=conv, **make_batch_norm(nn.BatchNorm2d, filters, norm), **layers)


def linear_block(
    inputs: int, outputs: int, dropout: float, norm: BatchNormConfig, *, has_random_bias: bool
) -> nn.Sequential:
    """Build (N, inputs) -> (N, outputs), batch normalization if `norm` is given, ReLU, then dropout
    with the probability of *losing* a value."""
    if outputs < 1:
        raise ValueError(f"hidden must be at least 1, not {outputs}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
    linear = (RandomBiasLinear if has_random_bias else nn.Linear)(inputs, outputs)
    dropout_layer = {"dropout": nn.Dropout(dropout)} if dropout else {}
    return named_sequential(
        linear=linear,
        **make_batch_norm(nn.BatchNorm1d, outputs, norm),
        relu=nn.ReLU(inplace=True),
        **dropout_layer,
    )


class RandomBiasLinear(nn.Linear):
    """A fully connected layer whose biases are initialized like its weights, not to zero, as in the
    chapter's `layer`."""

    @torch.no_grad()
    def initialize(self, rng: torch.Generator) -> None:
        """Draw weights and biases."""
        std = (2 / self.in_features) ** 0.5
        self.weight.normal_(0, std, generator=rng)
        self.bias.normal_(0, std, generator=rng)


@torch.no_grad()
def copy_with_random_weights(model: nn.Module, rng: torch.Generator, images: Tensor) -> nn.Module:
    """Return a copy with the weights of `initialize_weights`. Its batch normalizations have scale 1
    and shift 0, and the moments of the (N, C, H, W) `images`."""
    device = next(model.parameters()).device
    copy = deepcopy(model).cpu()  # where the generator is
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    norms = [module for module in copy.modules() if isinstance(module, kinds)]
    for norm in norms:
        norm.reset_parameters()
        norm.momentum = None  # the moments are those of the only batch
    initialize_weights(copy, rng)
    copy.to(device)
    for norm in norms:
        norm.train()
    copy(images)
    return copy.eval()


@torch.no_grad()
def initialize_weights(model: nn.Module, rng: torch.Generator) -> None:
    """Draw every weight from N(0, 2 / fan_in), in the modules' order, and set every bias to zero,
    as the chapter's listings do (He et al. 2015). Layers with a method `initialize` have their own
    initialization.

    fan_in is a filter's height x width x depth, or a fully connected layer's number of inputs.
    """
    for module in model.modules():
        if callable(initialize := getattr(module, "initialize", None)):
            initialize(rng)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            std = (2 / module.weight[0].numel()) ** 0.5
            module.weight.normal_(0, std, generator=rng)
            if module.bias is not None:
                module.bias.zero_()
