"""Published networks for 224x224 photographs, with torchvision's layers, for images of any size.

torchvision averages its last maps to 7x7 (VGG) or 6x6 (AlexNet), which changes nothing at 224
pixels. Here there is no such layer: images of another size have another fc6, and those too small
for the poolings are refused.
"""

import itertools
import math

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cnnlab.models.layers import ImageShape, make_batch_norm, named_sequential

# Filters, kernel size, stride, padding, and whether 3x3 pooling at stride 2 follows.
ALEXNET_CONVS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)


def vgg(
    shape: ImageShape,
    classes: int,
    *,
    filters: list[list[int]],
    hidden: list[int],
    dropout: float,
    batch_norm: dict[str, float] | None,
) -> nn.Sequential:
    """Build a VGG, (N, *shape) images -> (N, classes) logits: for each entry of `filters` a block
    of 3x3 convolutions, each with `batch_norm` ({decay, eps}) and a ReLU, then 2x2 pooling; then
    the head (Simonyan & Zisserman 2014, table 1: D is VGG-16, E is VGG-19, both without batch
    normalization). Layers have the paper's names: conv3_2 is the second convolution of the third
    block. Raises ValueError for too small an image, or a block without convolutions.

    The layout is configuration (configs/model/vgg16.yaml). `cnnlab.style.vgg` keeps its own table,
    as it reads no configuration; a test compares the two."""
    layers, depth = dict[str, nn.Module](), shape[0]
    for b, block in enumerate(filters, 1):
        if not block or min(block) < 1:
            kind = "blocks of at least one convolution of at least 1 filter"
            raise ValueError(f"filters must be {kind}, not {block}")
        for c, (inputs, outputs) in enumerate(itertools.pairwise([depth, *block]), 1):
            layers[f"conv{b}_{c}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            norms = make_batch_norm(nn.BatchNorm2d, outputs, batch_norm)
            layers |= {f"{key}{b}_{c}": norm for key, norm in norms.items()}
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
    """Build torchvision's AlexNet, (N, *shape) images -> (N, classes) logits: Krizhevsky's network
    on one GPU (2014, "One weird trick", section 5, without local response normalization), not the
    one of 2012 on two. Raises ValueError for too small an image."""
    layers, size, depth = dict[str, nn.Module](), list(shape[1:]), shape[0]
    for n, (filters, extent, stride, padding, is_pooled) in enumerate(ALEXNET_CONVS, 1):
        layers[f"conv{n}"] = nn.Conv2d(depth, filters, extent, stride, padding)
        layers[f"relu{n}"] = nn.ReLU(inplace=True)
        size = [(pixels + 2 * padding - extent) // stride + 1 for pixels in size]
        if is_pooled:
            layers[f"pool{n}"] = nn.MaxPool2d(3, 2)
            size = [(pixels - 3) // 2 + 1 for pixels in size]
        depth = filters
    return named_sequential(
        **layers,
        **classifier_head(
            (depth, *size),
            shape,
            classes,
            hidden,
            dropout,
            len(ALEXNET_CONVS) + 1,
            is_dropout_first=True,
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
    """Return the fully connected layers; numbers continue those of the convolutions' blocks.
    Dropout is before each layer but the last, or after its ReLU. Raises ValueError for an empty
    volume, `hidden` or `dropout` out of range."""
    if min(volume[1:]) < 1:
        pixels = f"{shape[1]}x{shape[2]} pixels"
        raise ValueError(f"nothing is left of {pixels} before fc{number}; use larger images")
    if hidden and min(hidden) < 1:
        raise ValueError(f"hidden must be at least 1, not {min(hidden)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    units = [math.prod(volume), *hidden]
    for n, (inputs, outputs) in enumerate(itertools.pairwise(units), number):
        linear = {f"fc{n}": nn.Linear(inputs, outputs), f"relu{n}": nn.ReLU(inplace=True)}
        drop = {f"drop{n}": nn.Dropout(dropout)} if dropout else {}
        layers |= drop | linear if is_dropout_first else linear | drop
    return layers | {f"fc{number + len(hidden)}": nn.Linear(units[-1], classes)}


def fold_batch_norm(model: nn.Sequential) -> dict[str, Tensor]:
    """Return a VGG's convolutions as {"conv1_1.weight": ..., "conv1_1.bias": ...}, each with its
    batch normalization folded in: in evaluation the two are one affine map (Jacob et al. 2018,
    section 3.2)."""
    layers, tensors = dict(model.named_children()), dict[str, Tensor]()
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d):
            norm = layers.get(name.replace("conv", "norm"))
            if isinstance(norm, nn.BatchNorm2d):
                layer = fuse_conv_bn_eval(layer.eval(), norm.eval())
            assert layer.bias is not None
            tensors[f"{name}.weight"] = layer.weight.detach()
            tensors[f"{name}.bias"] = layer.bias.detach()
    return tensors
