"""Networks by name. A builder takes the input's (depth, height, width) and the number of classes, then
keywords that its YAML file in configs/model gives, and returns (N, depth, height, width) -> (N, classes) logits."""

from collections.abc import Callable

from torch import nn

from cnnlab.models.cnn import cnn, mlp
from cnnlab.models.fixed_filters import fixed_filters
from cnnlab.models.vgg_alexnet import alexnet, vgg

MODELS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,
    "cifar_bn": cnn,
    "cifar_cnn": cnn,
    "digits_cnn": cnn,
    "fixed_filters": fixed_filters,
    "mnist_cnn": cnn,
    "mnist_mlp": mlp,
    "vgg16": vgg,
    "vgg19": vgg,
}
