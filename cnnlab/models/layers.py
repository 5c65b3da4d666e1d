"""The chapter's layers, from torch's own modules, and how their weights begin."""

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
)  # batch normalisation's {"decay": ..., "eps": ...}, or none


def named_sequential(**layers: nn.Module) -> nn.Sequential:
    """Layers in the order given, under their names."""
    return nn.Sequential(OrderedDict(layers))


class FractionalMaxPool(nn.Module):
    """(N, C, H, W) -> (N, C, int(H / √2), int(W / √2)): overlapping 2x2 regions whose steps of one and two pixels are
    drawn anew for each picture and channel in training (Graham 2014, pseudorandom), and fixed when it is judged."""

    ratio = 1 / math.sqrt(2)

    def forward(self, x: Tensor) -> Tensor:
        fixed = None if self.training else x.new_full((x.shape[0], x.shape[1], 2), 0.5)
        return F.fractional_max_pool2d(
            x, 2, output_ratio=(self.ratio, self.ratio), _random_samples=fixed
        )


class PoolingSpec(NamedTuple):
    """A way to make maps smaller after a convolution."""

    make_module: (
        Callable[[], nn.Module] | None
    )  # None: the convolution itself moves two pixels at a time
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
    """A way of pooling. Raises ValueError with those there are."""
    if name not in POOLINGS:
        raise ValueError(format_unknown_choice("pool", name, POOLINGS))
    return POOLINGS[name]


def make_batch_norm(
    kind: type[nn.Module], width: int, norm: BatchNormConfig
) -> dict[str, nn.Module]:
    """torch's layer (Ioffe & Szegedy 2015; the chapter's `conv_batch_norm` and `layer_batch_norm`) under its name, or
    nothing. Its running moments keep `decay` of themselves at each step; torch's running variance is the unbiased one,
    n/(n-1) times the chapter's, and begins at 1. Raises UsageError for other keys, ValueError for values that cannot
    be."""
    if norm is None:
        return {}
    check_keywords(batch_norm_kwargs, norm, "model.batch_norm")
    return {"norm": kind(width, **batch_norm_kwargs(**norm))}


def batch_norm_kwargs(*, decay: float, eps: float) -> dict[str, float]:
    """The chapter's words for it as torch has them."""
    if not 0 <= decay < 1 or not 0 < eps < math.inf:
        raise ValueError(
            f"batch_norm wants decay at least 0 and below 1, and eps above 0, not {decay} and {eps}"
        )
    return {"momentum": 1 - decay, "eps": eps}


def conv_block(
    depth: int, filters: int, extent: int, pool: str, norm: BatchNormConfig
) -> nn.Sequential:
    """(N, depth, H, W) -> (N, filters, smaller, smaller): filters of an odd `extent` at stride 1 with the zero padding
    that keeps height and width, batch normalisation where asked for, ReLU and pooling.

    The chapter takes the ReLU before it pools. A maximum and a ReLU commute, exactly and in the gradient, and the
    pooled map is a quarter the size: here such pooling comes first.
    """
    if extent % 2 == 0 or extent < 1:
        raise ValueError(f"extent must be odd, so that padding keeps the size, not {extent}")
    if filters < 1:
        raise ValueError(f"filters must be at least 1, not {filters}")
    how = get_pooling(pool)
    conv = nn.Conv2d(
        depth, filters, extent, stride=1 if how.make_module else 2, padding=extent // 2
    )
    relu = {"relu": nn.ReLU(inplace=True)}
    smaller = {"pool": how.make_module()} if how.make_module else {}
    after = smaller | relu if how.is_max else relu | smaller
    return named_sequential(conv=conv, **make_batch_norm(nn.BatchNorm2d, filters, norm), **after)


def linear_block(
    inputs: int, outputs: int, dropout: float, norm: BatchNormConfig, *, has_random_bias: bool
) -> nn.Sequential:
    """(N, inputs) -> (N, outputs), batch normalisation where asked for, ReLU, then dropout with the probability of
    *losing* a value."""
    if outputs < 1:
        raise ValueError(f"hidden must be at least 1, not {outputs}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
    linear = (RandomBiasLinear if has_random_bias else nn.Linear)(inputs, outputs)
    drop = {"dropout": nn.Dropout(dropout)} if dropout else {}
    return named_sequential(
        linear=linear,
        **make_batch_norm(nn.BatchNorm1d, outputs, norm),
        relu=nn.ReLU(inplace=True),
        **drop,
    )


class RandomBiasLinear(nn.Linear):
    """A fully connected layer whose biases begin as its weights do, not at zero, as in the chapter's `layer`."""


@torch.no_grad()
def copy_with_random_weights(model: nn.Module, rng: torch.Generator, images: Tensor) -> nn.Module:
    """A copy of a network that has learned nothing: weights as `initialize` draws them, batch normalisations that shift
    and scale nothing, their moments those of (N, C, H, W) `pictures`."""
    device = next(model.parameters()).device
    copy = deepcopy(model).cpu()  # where the generator is
    norms = [one for one in copy.modules() if isinstance(one, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        norm.reset_parameters()
        norm.momentum = None  # the moments are the plain mean over all that it sees: one batch
    initialize_weights(copy, rng)
    copy.to(device)
    for norm in norms:
        norm.train()
    copy(images)
    return copy.eval()


@torch.no_grad()
def initialize_weights(model: nn.Module, rng: torch.Generator) -> None:
    """Every weight from N(0, 2 / fan_in), every bias zero, as in the chapter's listings (He et al. 2015).

    fan_in is a filter's height x width x depth, or a fully connected layer's inputs. Draws in the modules' order.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            deviation = (2 / module.weight[0].numel()) ** 0.5
            module.weight.normal_(0, deviation, generator=rng)
            if isinstance(module, RandomBiasLinear):
                module.bias.normal_(0, deviation, generator=rng)
            elif module.bias is not None:
                module.bias.zero_()
