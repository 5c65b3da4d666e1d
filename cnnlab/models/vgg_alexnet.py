"""Published networks for 224x224 photographs, layer for layer as torchvision has them, for pictures of any size.

torchvision averages its last maps to 7x7 (VGG) or 6x6 (AlexNet), which at 224 pixels changes nothing. Here there is no
such layer: pictures of another size have another fc6, and those too small to be pooled so often are refused.
"""

import itertools
import math

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cnnlab.models.layers import ImageShape, named_sequential
from cnnlab.models.layers import make_batch_norm as normalised


def vgg(
    shape: ImageShape,
    classes: int,
    *,
    filters: list[list[int]],
    hidden: list[int],
    dropout: float,
    batch_norm: dict[str, float] | None,
) -> nn.Sequential:
    """(N, *shape) pictures -> (N, classes) logits: for each entry of `filters` a block of 3x3 convolutions, each with a
    ReLU and `batch_norm` ({decay, eps}) before it, then 2x2 pooling; then the head (Simonyan & Zisserman 2014, table 1:
    D is VGG-16, E is VGG-19; they have no batch normalisation). Layers are named as theirs are, conv3_2 the second
    convolution of the third block. Raises ValueError for too small a picture, or a block without convolutions."""
    layers, depth = dict[str, nn.Module](), shape[0]
    for b, block in enumerate(filters, 1):
        if not block or min(block) < 1:
            raise ValueError(
                f"filters must be blocks of at least one convolution of at least 1 filter, not {block}"
            )
        for c, (before, after) in enumerate(itertools.pairwise([depth, *block]), 1):
            layers[f"conv{b}_{c}"] = nn.Conv2d(before, after, 3, padding=1)
            layers |= {
                f"{key}{b}_{c}": norm
                for key, norm in normalised(nn.BatchNorm2d, after, batch_norm).items()
            }
            layers[f"relu{b}_{c}"] = nn.ReLU(inplace=True)
        layers[f"pool{b}"], depth = nn.MaxPool2d(2), block[-1]
    size = [pixels // 2 ** len(filters) for pixels in shape[1:]]
    return named_sequential(
        **layers,
        **classifier_head(
            (depth, *size),
            shape,
            classes,
            hidden,
            dropout,
            len(filters) + 1,
            is_dropout_first=False,
        ),
    )


def alexnet(shape: ImageShape, classes: int, *, hidden: list[int], dropout: float) -> nn.Sequential:
    """(N, *shape) pictures -> (N, classes) logits: Krizhevsky's network on one GPU (2014, "One weird trick", section
    5, without local response normalisation), as torchvision has it, and not that of 2012 on two. Raises ValueError for
    too small a picture."""
    layers, size = dict[str, nn.Module](), list(shape[1:])
    plan = ((64, 11, 4, 2, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False), (256, 3, 1, 1, False),
            (256, 3, 1, 1, True))  # filters, extent, stride, padding, pooled  # fmt: skip
    depth = shape[0]
    for n, (filters, extent, stride, padding, pooled) in enumerate(plan, 1):
        layers[f"conv{n}"] = nn.Conv2d(depth, filters, extent, stride, padding)
        layers[f"relu{n}"] = nn.ReLU(inplace=True)
        size = [(pixels + 2 * padding - extent) // stride + 1 for pixels in size]
        if pooled:
            layers[f"pool{n}"] = nn.MaxPool2d(3, 2)
            size = [(pixels - 3) // 2 + 1 for pixels in size]
        depth = filters
    return named_sequential(
        **layers,
        **classifier_head(
            (depth, *size), shape, classes, hidden, dropout, len(plan) + 1, is_dropout_first=True
        ),
    )


def classifier_head(
    volume: tuple[int, ...],
    shape: ImageShape,
    classes: int,
    hidden: list[int],
    dropout: float,
    number: int,
    *,
    is_dropout_first: bool,
) -> dict[str, nn.Module]:
    """The fully connected layers, numbered on from the convolutions' blocks; dropout stands `first`, before each layer
    but the last, or behind its ReLU. Raises ValueError for a volume without extent, or layers that cannot be."""
    if min(volume[1:]) < 1:
        raise ValueError(
            f"nothing is left of {shape[1]}x{shape[2]} pixels before fc{number}; this takes larger ones"
        )
    if hidden and min(hidden) < 1:
        raise ValueError(f"hidden must be at least 1, not {min(hidden)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    units = [math.prod(volume), *hidden]
    for n, (before, after) in enumerate(itertools.pairwise(units), number):
        own = {f"fc{n}": nn.Linear(before, after), f"relu{n}": nn.ReLU(inplace=True)}
        drop = {f"drop{n}": nn.Dropout(dropout)} if dropout else {}
        layers |= drop | own if is_dropout_first else own | drop
    return layers | {f"fc{number + len(hidden)}": nn.Linear(units[-1], classes)}


def fold_batch_norm(model: nn.Sequential) -> dict[str, Tensor]:
    """A VGG's convolutions as {"conv1_1.weight": ..., "conv1_1.bias": ...}, each with the batch normalisation behind it
    in it: judging, the two are one product and one sum (Jacob et al. 2018, section 3.2)."""
    layers, found = dict(model.named_children()), dict[str, Tensor]()
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d):
            norm = layers.get(name.replace("conv", "norm"))
            whole = (
                fuse_conv_bn_eval(layer.eval(), norm.eval())
                if isinstance(norm, nn.BatchNorm2d)
                else layer
            )
            assert whole.bias is not None
            found |= {f"{name}.weight": whole.weight.detach(), f"{name}.bias": whole.bias.detach()}
    return found
