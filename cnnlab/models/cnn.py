"""The chapter's networks, for any size and depth of picture: the feed-forward baseline and the convolutional network
of "Closing the Loop on MNIST" and "Building a Convolutional Network for CIFAR-10", with and without batch
normalisation."""

import itertools
import math
from typing import Literal

from torch import nn

from cnnlab.models.layers import Norm, Shape, convolution, fully_connected, pool_named, stack


def mlp(shape: Shape, classes: int, *, hidden: list[int], dropout: float) -> nn.Sequential:
    """(N, *shape) pictures -> (N, classes) logits: the feed-forward baseline, each hidden layer with a ReLU."""
    return stack(flatten=nn.Flatten(), **head(math.prod(shape), classes, hidden, dropout, None, "linear"))


def cnn(
    shape: Shape,
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
        size = [pool_named(pool).size(pixels) for pixels in size]
        if min(size) < 1:
            raise ValueError(
                f"{number} poolings leave nothing of {shape[1]}x{shape[2]} pixels; use fewer filters entries"
            )
    pairs = enumerate(itertools.pairwise([depth, *filters]), 1)
    layers = {f"conv_{n}": convolution(before, after, extent, pool, batch_norm) for n, (before, after) in pairs}
    flat = ([depth, *filters][-1]) * math.prod(size)
    return stack(**layers, flatten=nn.Flatten(), **head(flat, classes, hidden, dropout, batch_norm, output))


def head(inputs: int, classes: int, hidden: list[int], dropout: float, norm: Norm, output: str) -> dict[str, nn.Module]:
    """fc_1, fc_2, ... and the output, whose logits go to the softmax in the loss."""
    sizes, listed = [inputs, *hidden], output == "as_listed"
    layers: dict[str, nn.Module] = {
        f"fc_{n}": fully_connected(a, b, dropout, norm, as_listed=listed)
        for n, (a, b) in enumerate(itertools.pairwise(sizes), 1)
    }
    last = fully_connected(sizes[-1], classes, 0, norm, as_listed=True) if listed else nn.Linear(sizes[-1], classes)
    return {**layers, "output": last}
