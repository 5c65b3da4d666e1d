"""The chapter's layers, from torch's own modules, and how their weights begin."""

from collections import OrderedDict

import torch
from torch import nn


def stack(**layers: nn.Module) -> nn.Sequential:
    """Layers in the order given, under their names."""
    return nn.Sequential(OrderedDict(layers))


def convolution(depth: int, filters: int, extent: int) -> nn.Sequential:
    """(N, depth, H, W) -> (N, filters, H // 2, W // 2): filters of an odd `extent` at stride 1 with the zero padding
    that keeps height and width, 2x2 max pooling, ReLU.

    The chapter takes the ReLU first. A maximum and a ReLU commute, exactly and in the gradient, and the
    pooled map is a quarter the size: here pooling comes first.
    """
    if extent % 2 == 0 or extent < 1:
        raise ValueError(f"extent must be odd, so that padding keeps the size, not {extent}")
    if filters < 1:
        raise ValueError(f"filters must be at least 1, not {filters}")
    return stack(
        conv=nn.Conv2d(depth, filters, extent, padding=extent // 2),
        pool=nn.MaxPool2d(2),
        relu=nn.ReLU(inplace=True),
    )


def fully_connected(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """(N, inputs) -> (N, outputs), ReLU, then dropout with the probability of *losing* a value."""
    if outputs < 1:
        raise ValueError(f"hidden must be at least 1, not {outputs}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
    drop = {"dropout": nn.Dropout(dropout)} if dropout else {}
    return stack(linear=nn.Linear(inputs, outputs), relu=nn.ReLU(inplace=True), **drop)


@torch.no_grad()
def initialize(model: nn.Module, rng: torch.Generator) -> None:
    """Every weight from N(0, 2 / fan_in), every bias zero, as in the chapter's listings (He et al. 2015).

    fan_in is a filter's height x width x depth, or a fully connected layer's inputs. Draws in the modules' order.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=rng)
            if module.bias is not None:
                module.bias.zero_()
