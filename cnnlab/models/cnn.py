"""The chapter's networks, for any size and depth of picture: the feed-forward baseline and the convolutional network
of "Closing the Loop on MNIST" and "Building a Convolutional Network for CIFAR-10", with and without batch
normalisation."""

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
    """(N, *shape) pictures -> (N, classes) logits: the feed-forward baseline, each hidden layer with a ReLU."""
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
    """(N, *shape) pictures -> (N, classes) logits: a convolution and pooling (`layers.POOLS`) for each entry of
    `filters`, then fully connected layers of `hidden` units with dropout; `batch_norm` ({decay, eps}) before every
    nonlinearity. `output`: linear, or as the chapter lists it, with batch normalisation and ReLU on the logits too, and
    biases of the fully connected layers that begin as their weights do.
    Raises ValueError where a picture is pooled away."""
    depth, *size = shape
    for number in range(1, len(filters) + 1):
        size = [get_pooling(pool).output_size(pixels) for pixels in size]
        if min(size) < 1:
            raise ValueError(
                f"{number} poolings leave nothing of {shape[1]}x{shape[2]} pixels; use fewer filters entries"
            )
    pairs = enumerate(itertools.pairwise([depth, *filters]), 1)
    layers = {
        f"conv_{n}": conv_block(before, after, extent, pool, batch_norm)
        for n, (before, after) in pairs
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
    """fc_1, fc_2, ... and the output, whose logits go to the softmax in the loss."""
    sizes, listed = [inputs, *hidden], output == "as_listed"
    layers: dict[str, nn.Module] = {
        f"fc_{n}": linear_block(a, b, dropout, norm, has_random_bias=listed)
        for n, (a, b) in enumerate(itertools.pairwise(sizes), 1)
    }
    last = (
        linear_block(sizes[-1], classes, 0, norm, has_random_bias=True)
        if listed
        else nn.Linear(sizes[-1], classes)
    )
    return {**layers, "output": last}
