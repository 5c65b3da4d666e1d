"""The chapter's networks for images of any size and depth: the feed-forward baseline and the
convolutional network of "Closing the Loop on MNIST" and "Building a Convolutional Network for
CIFAR-10", with and without batch normalization."""

import itertools
import math
from typing import Literal

from torch import nn

from cnnlab.models.layers import (
    BatchNormConfig,
    ImageShape,
    conv_block,
    get_pooling,
    linear_block,
    named_sequential,
)


def mlp(shape: ImageShape, classes: int, *, hidden: list[int], dropout: float) -> nn.Sequential:
    """Build the feed-forward baseline, (N, *shape) images -> (N, classes) logits; each hidden layer
    has a ReLU."""
    return named_sequential(
        flatten=nn.Flatten(), **mlp_head(math.prod(shape), classes, hidden, dropout, None, "linear")
    )


def cnn(
    shape: ImageShape,
    classes: int,
    *,
    filters: list[int],
    extent: int,
    pool: str,
    hidden: list[int],
    dropout: float,
    batch_norm: dict[str, float] | None,
    output: Literal["linear", "as_listed"],
) -> nn.Sequential:
    """Build a convolutional network, (N, *shape) images -> (N, classes) logits: a convolution and
    pooling (`layers.POOLINGS`) for each entry of `filters`, then fully connected layers of `hidden`
    units with dropout; `batch_norm` ({decay, eps}) before every nonlinearity.

    `output`: `linear`, or `as_listed` in the chapter: batch normalization and ReLU on the logits
    too, and biases of fully connected layers initialized like their weights. Raises ValueError for
    an image too small for the poolings."""
    depth, *size = shape
    for number in range(1, len(filters) + 1):
        size = [get_pooling(pool).output_size(pixels) for pixels in size]
        if min(size) < 1:
            pixels = f"{shape[1]}x{shape[2]} pixels"
            raise ValueError(
                f"{number} poolings leave nothing of {pixels}; use fewer filters entries"
            )
    layers = {
        f"conv_{number}": conv_block(inputs, outputs, extent, pool, batch_norm)
        for number, (inputs, outputs) in enumerate(itertools.pairwise([depth, *filters]), 1)
    }
    flat = ([depth, *filters][-1]) * math.prod(size)
    return named_sequential(
        **layers,
        flatten=nn.Flatten(),
        **mlp_head(flat, classes, hidden, dropout, batch_norm, output),
    )


def mlp_head(
    inputs: int, classes: int, hidden: list[int], dropout: float, norm: BatchNormConfig, output: str
) -> dict[str, nn.Module]:
    """Return fc_1, fc_2, ... and the output layer, without softmax: the loss has it."""
    sizes, is_listed = [inputs, *hidden], output == "as_listed"
    layers: dict[str, nn.Module] = {
        f"fc_{number}": linear_block(before, after, dropout, norm, has_random_bias=is_listed)
        for number, (before, after) in enumerate(itertools.pairwise(sizes), 1)
    }
    if is_listed:
        layers["output"] = linear_block(sizes[-1], classes, 0, norm, has_random_bias=True)
    else:
        layers["output"] = nn.Linear(sizes[-1], classes)
    return layers
