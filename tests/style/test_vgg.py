from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import vgg

from cnnlab.core.errors import UsageError
from cnnlab.style.vgg import (
    CONVS_PER_BLOCK,
    TORCHVISION_CONVENTION,
    VGGFeatures,
    conv_channels,
    init_random_vgg,
    list_conv_names,
)
from cnnlab.style.vgg_weights import truncate_vgg_weights

SMALL = init_random_vgg(conv_channels((2, 2, 1), (4, 6, 8)), torch.Generator().manual_seed(0))
IMAGE = torch.rand(1, 3, 45, 70, generator=torch.Generator().manual_seed(1))


def make_torchvision_vgg(kind: str) -> tuple[Any, dict[str, Tensor]]:
    """Return torchvision's layers, and the same random weights by the paper's names."""
    torch.manual_seed(0)
    layers = vgg.make_layers(vgg.cfgs[kind]).requires_grad_(False)
    names = [
        f"conv{b}_{c + 1}"
        for b, n in enumerate(CONVS_PER_BLOCK["vgg16" if kind == "D" else "vgg19"], 1)
        for c in range(n)
    ]
    convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    tensors = {
        f"{name}.{part}": getattr(layer, part)
        for name, layer in zip(names, convolutions, strict=True)
        for part in ("weight", "bias")
    }
    return layers, tensors


@pytest.mark.parametrize("kind", ["D", "E"])
def test_every_relu_equals_torchvision(kind: str) -> None:
    layers, tensors = make_torchvision_vgg(kind)
    encoder = VGGFeatures(tensors, TORCHVISION_CONVENTION)
    maps = encoder(IMAGE, encoder.relu_names)
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (TORCHVISION_CONVENTION.mean, TORCHVISION_CONVENTION.std)
    )
    x, expected = (IMAGE - mean) / std, []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, torch.nn.ReLU):
            expected.append(x.clone())
    assert len(maps) == len(expected) == sum(CONVS_PER_BLOCK["vgg16" if kind == "D" else "vgg19"])
    for (name, actual), reference in zip(maps.items(), expected, strict=True):
        assert (actual - reference).abs().max() <= 1e-5 * reference.abs().max(), name


def test_conv_channels_equal_torchvision() -> None:
    for name, kind in (("vgg16", "D"), ("vgg19", "E")):
        widths = [width for width in vgg.cfgs[kind] if width != "M"]
        assert [width for _, width in conv_channels(CONVS_PER_BLOCK[name]).values()] == widths
        counts = [
            len(list(group))
            for key, group in groupby(vgg.cfgs[kind], lambda width: width == "M")
            if not key
        ]
        assert tuple(counts) == CONVS_PER_BLOCK[name]


def test_normalize_follows_the_convention() -> None:
    caffe = replace(
        TORCHVISION_CONVENTION,
        mean=(104.0, 117.0, 123.0),
        std=(1.0, 1.0, 1.0),
        range="0..255",
        color="BGR",
    )
    normalized = VGGFeatures(SMALL, caffe).normalize(IMAGE)
    for channel, (rgb, mean) in enumerate(((2, 104), (1, 117), (0, 123))):
        torch.testing.assert_close(normalized[:, channel], IMAGE[:, rgb] * 255 - mean)
    assert torch.equal(
        VGGFeatures(SMALL, replace(caffe, range="0..1", color="RGB", mean=(0, 0, 0))).normalize(
            IMAGE
        ),
        IMAGE,
    )


@pytest.mark.parametrize("pool", ["max", "average"])
@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_padding_and_pooling_follow_the_convention(padding: Any, pool: Any) -> None:
    encoder = VGGFeatures(SMALL, replace(TORCHVISION_CONVENTION, padding=padding, pool=pool))
    mode = {"zeros": "constant", "reflect": "reflect"}[padding]
    x = encoder.normalize(IMAGE)
    for name in ("conv1_1", "conv1_2", "pool", "conv2_1"):
        if name == "pool":
            x = F.max_pool2d(x, 2) if pool == "max" else F.avg_pool2d(x, 2)
        else:
            x = F.conv2d(
                F.pad(x, (1, 1, 1, 1), mode), SMALL[f"{name}.weight"], SMALL[f"{name}.bias"]
            ).relu()
    torch.testing.assert_close(encoder(IMAGE, ["relu2_1"])["relu2_1"], x)


def test_truncated_vgg_and_its_input_checks() -> None:
    encoder = VGGFeatures(truncate_vgg_weights(SMALL, "conv2_1"), TORCHVISION_CONVENTION)
    assert encoder.relu_names == ("relu1_1", "relu1_2", "relu2_1") and encoder.min_size == 2
    assert VGGFeatures(SMALL, replace(TORCHVISION_CONVENTION, padding="reflect")).min_size == 8
    with pytest.raises(UsageError, match="layer 'relu3_1' is not one of relu1_1, relu1_2, relu2_1"):
        encoder(IMAGE, ["relu1_1", "relu3_1"])
    with pytest.raises(UsageError, match="70x1 pixels are too few: each side needs at least 2"):
        encoder(IMAGE[:, :, :1], ["relu1_1"])
    for padding in ("zeros", "reflect"):  # of `min_size` pixels something is left
        encoder = VGGFeatures(SMALL, replace(TORCHVISION_CONVENTION, padding=padding))  # type: ignore[arg-type]
        assert (
            min(
                encoder(IMAGE[..., : encoder.min_size, : encoder.min_size], ["relu3_1"])[
                    "relu3_1"
                ].shape
            )
            >= 1
        )


def drop_tensors(prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in SMALL.items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({}, "it holds no convolutions"),
        ({"fc.weight": torch.zeros(3)}, "it is not a VGG: it holds fc, not conv1_1"),
        (drop_tensors("conv1"), "conv2_1 is not the convolution"),
        (drop_tensors("conv2_1"), "conv2_2 is not the convolution"),
        (drop_tensors("conv2_2.bias"), "conv2_2.weight is of"),
        (SMALL | {"conv1_2.bias": torch.zeros(4, 1)}, "conv1_2.weight is of"),
        (
            SMALL | {"conv1_2.weight": torch.zeros(4, 4, 5, 5)},
            r"\(4, 4, 5, 5\), not of \(filters, 4, 3, 3\)",
        ),
    ],
)
def test_other_tensors_are_refused_by_name(broken: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_conv_names(broken)


def test_random_vgg_keeps_activation_scale() -> None:
    tensors = init_random_vgg(
        conv_channels(CONVS_PER_BLOCK["vgg19"], (32,) * 5), torch.Generator().manual_seed(3)
    )
    encoder = VGGFeatures(tensors, TORCHVISION_CONVENTION)
    maps = encoder(
        torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)), ["relu1_1", "relu5_1"]
    )
    deviations = [float(layer_maps.std()) for layer_maps in maps.values()]
    assert 0.1 < deviations[1] / deviations[0] < 10
    same_seed = init_random_vgg(
        conv_channels(CONVS_PER_BLOCK["vgg19"], (32,) * 5), torch.Generator().manual_seed(3)
    )
    assert all(torch.equal(same_seed[name], tensor) for name, tensor in tensors.items())


def test_cast_convolutions_equal_autocast() -> None:
    """They are cast once; autocast casts frozen weights at every evaluation."""
    encoder, x = VGGFeatures(SMALL, TORCHVISION_CONVENTION), IMAGE
    names = encoder.relu_names
    with torch.autocast("cpu", torch.bfloat16):
        expected = encoder(x, names)
    cast = encoder.cast_convolutions(torch.bfloat16)
    maps = cast(x, names)
    for name in names:
        assert maps[name].dtype == torch.bfloat16 and torch.equal(maps[name], expected[name])
    assert cast.mean.dtype == torch.float32 and encoder.conv_dtype == torch.float32
    assert encoder.cast_convolutions(torch.float32) is encoder
