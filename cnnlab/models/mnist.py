"""The chapter's networks for MNIST ("Closing the Loop on MNIST"), for any size and depth of picture."""

import itertools
import math

from torch import nn

from cnnlab.models.layers import convolution, fully_connected, stack

Shape = tuple[int, int, int]  # depth, height, width


def mlp(shape: Shape, classes: int, *, hidden: list[int], dropout: float) -> nn.Sequential:
    """(N, *shape) pictures -> (N, classes) logits: the feed-forward baseline, each hidden layer with a ReLU."""
    return stack(flatten=nn.Flatten(), **head(math.prod(shape), classes, hidden, dropout))


def cnn(
    shape: Shape, classes: int, *, filters: list[int], extent: int, hidden: list[int], dropout: float
) -> nn.Sequential:
    """(N, *shape) pictures -> (N, classes) logits: a convolution with 2x2 pooling for each entry of `filters`,
    then fully connected layers of `hidden` units with dropout. Raises ValueError where a picture is pooled away."""
    depth, height, width = shape
    if min(height, width) >> len(filters) == 0:
        raise ValueError(f"{len(filters)} poolings leave nothing of {height}x{width} pixels; use fewer filters entries")
    pairs = enumerate(itertools.pairwise([depth, *filters]), 1)
    convolutions = {f"conv_{n}": convolution(before, after, extent) for n, (before, after) in pairs}
    flat = ([depth, *filters][-1]) * (height >> len(filters)) * (width >> len(filters))
    return stack(**convolutions, flatten=nn.Flatten(), **head(flat, classes, hidden, dropout))


def head(inputs: int, classes: int, hidden: list[int], dropout: float) -> dict[str, nn.Module]:
    """fc_1, fc_2, ... and the linear output, whose logits go to the softmax in the loss."""
    sizes = [inputs, *hidden]
    layers = {f"fc_{n}": fully_connected(a, b, dropout) for n, (a, b) in enumerate(itertools.pairwise(sizes), 1)}
    return {**layers, "output": nn.Linear(sizes[-1], classes)}
