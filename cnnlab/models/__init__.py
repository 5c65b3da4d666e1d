"""Networks by name. A builder takes the input's (depth, height, width), the number of classes and
the keywords of its YAML file in configs/model. Its network maps (N, depth, height, width) to
(N, classes) logits, a style network to images of the same shape."""

from collections.abc import Callable

import torch
from torch import nn

from cnnlab.core.schema import Config, build_registered
from cnnlab.models.cnn import cnn, mlp
from cnnlab.models.fast_cnn import fast_cnn
from cnnlab.models.fixed_filters import fixed_filters
from cnnlab.models.style_network import style_network
from cnnlab.models.vgg_alexnet import alexnet, vgg

MODELS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,
    "cifar_bn": cnn,
    "cifar_cnn": cnn,
    "cifar_fast": fast_cnn,
    "digits_cnn": cnn,
    "fixed_filters": fixed_filters,
    "mnist_cnn": cnn,
    "mnist_fast": fast_cnn,
    "mnist_mlp": mlp,
    "style_network": style_network,
    "vgg16": vgg,
    "vgg19": vgg,
}
STYLE_NETWORK = "style_network"  # the one that is no classifier


def is_classifier(spec: Config) -> bool:
    """Return whether a `model` configuration is of a classifier, not of a style network."""
    return spec.get("name") != STYLE_NETWORK


def build_model(spec: Config, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the network of a `model` configuration for images of a shape. Raises UsageError."""
    return build_registered(MODELS, spec, "model", shape, classes)


def move_to_device(
    model: nn.Module, device: str | torch.device, *, channels_last: bool
) -> nn.Module:
    """Return the network on a device, with the given memory layout of its weights. The layout
    affects the last bits of the output."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(device).to(memory_format=layout)
