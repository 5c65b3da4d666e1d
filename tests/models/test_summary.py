import random

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.config import compose, list_groups
from cnnlab.models import build_model
from cnnlab.models.layers import FractionalMaxPool, named_sequential
from cnnlab.models.summary import (
    SMALL_BATCH,
    BatchMemory,
    LayerSummary,
    sum_memory,
    summarize_layers,
)

SHAPES = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "cifar10": (3, 24, 24),
    "folder": (3, 64, 64),
    "sample_photos": (3, 32, 32),
}
WIDE = {"vgg16": [[4, 4], [4], [6], [6], [6, 6]], "vgg19": [[4], [4], [6], [6], [6, 6, 6]]}


def measure_saved_bytes(model: nn.Module, images: Tensor) -> int:
    """Return the bytes that autograd saves, by its own hooks, in real memory: unique storages by
    address, except parameters and running moments."""
    tensors = (*model.parameters(), *model.buffers())
    parameter_addresses = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    storages = {}

    def pack(tensor: Tensor) -> Tensor:
        # Storages are kept alive, so that no address is used twice.
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.train()(images)
    saved = (storages[address] for address in storages.keys() - parameter_addresses)
    return sum(storage.nbytes() for storage in saved)


def check_against_torch(
    model: nn.Module, shape: tuple[int, int, int], batch: int = 5
) -> list[LayerSummary]:
    images = torch.randn(batch, *shape)
    layers = summarize_layers(model, shape)
    expected = measure_saved_bytes(model, images)
    assert sum_memory([layer.saved_for_backward for layer in layers]).for_batch(batch) == expected
    with FlopCounterMode(display=False) as counter:
        result = model.eval()(images)
    assert sum(layer.flops for layer in layers) * batch == counter.get_total_flops()
    assert layers[-1].output == result.shape[1:] and layers[0].input == shape
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in model.parameters())
    for layer in layers:
        parameters = dict(model.get_submodule(layer.name).named_parameters(recurse=False))
        assert layer.biases == (parameters["bias"].numel() if "bias" in parameters else 0)
    return layers


@pytest.mark.parametrize("name", list_groups()["model"])
def test_every_model_agrees_with_torch(name: str) -> None:
    """Sizes, parameters, FLOPs by FlopCounterMode, and memory by saved_tensors_hooks. VGG has few
    filters here: test_vgg_alexnet compares its full sizes with torchvision's."""
    config = compose("train", [f"model={name}"])
    small = {"hidden": [8]} if config["dataset"]["name"] == "folder" else {}
    small |= {"filters": WIDE[name]} if name in WIDE else {}
    shape = SHAPES[config["dataset"]["name"]]
    check_against_torch(build_model(config["model"] | small, shape, 10), shape)


def make_random_layer(rng: random.Random) -> tuple[nn.Module, tuple[int, int, int]]:
    """Return a layer of any kind, and the shape of a volume that it takes."""
    d, extent, k = (
        rng.choice([2, 4, 6]),
        (rng.randint(1, 5), rng.randint(1, 5)),
        rng.choice([2, 4, 8]),
    )
    shape = d, rng.randint(6, 20), rng.randint(6, 20)
    stride, pool_padding = (rng.randint(1, 3), rng.randint(1, 3)), (extent[0] // 2, extent[1] // 2)
    padding, dilation = (rng.randint(0, 3), rng.randint(0, 3)), rng.randint(1, 2)
    kinds = (
        lambda: nn.Conv2d(
            d, k, extent, stride, padding, dilation if max(extent) < 4 else 1, 2, rng.random() < 0.5
        ),
        lambda: nn.Conv2d(d, k, (extent[0] | 1, extent[1] | 1), 1, "same"),
        lambda: nn.MaxPool2d(extent, stride, pool_padding, ceil_mode=rng.random() < 0.5),
        lambda: nn.AvgPool2d(extent, stride, pool_padding, ceil_mode=rng.random() < 0.5),
        lambda: nn.BatchNorm2d(d, affine=rng.random() < 0.7),
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], k, bias=rng.random() < 0.7)
        ),
        FractionalMaxPool,
        lambda: nn.Dropout(0.3),
    )
    return rng.choice(kinds)(), shape


def test_random_layers_agree_with_torch() -> None:
    rng = random.Random(0)
    torch.manual_seed(0)
    for number in range(200):
        layer, shape = make_random_layer(rng)
        # After a convolution, so that the layer does not save the image itself.
        model = named_sequential(
            first=nn.Conv2d(shape[0], shape[0], 1),
            layer=layer,
            relu=nn.ReLU(inplace=number % 2 == 0),
        )
        try:
            check_against_torch(model, shape, batch=rng.randint(2, 6))
        except AssertionError as error:
            raise AssertionError(f"layer {number}: {layer} on {shape}") from error


def test_mnist_cnn_by_hand() -> None:
    model = build_model(compose("train", ["model=mnist_cnn"])["model"], (1, 28, 28), 10)
    layers = {layer.name: layer for layer in summarize_layers(model, (1, 28, 28))}
    first = layers["conv_1.conv"]
    assert (first.input, first.output) == ((1, 28, 28), (32, 28, 28))
    assert (first.weights, first.biases) == (32 * 25, 32) and (first.kernel_size, first.stride) == (
        (5, 5),
        (1, 1),
    )
    assert first.multiply_adds == 28 * 28 * 32 * 25 and first.flops == 2 * first.multiply_adds
    assert first.forward_memory == BatchMemory(
        28 * 28 * 32 * 4
    ) and first.saved_for_backward == BatchMemory(28 * 28 * 4), "it saves the image"
    pooled, relu, second = (layers[name] for name in ("conv_1.pool", "conv_1.relu", "conv_2.conv"))
    assert pooled.saved_for_backward == BatchMemory(28 * 28 * 32 * 4 + 14 * 14 * 32 * 8), (
        "its input, and the index of each maximum: int64"
    )
    assert relu.forward_memory == BatchMemory(0), "in place"
    assert relu.saved_for_backward == BatchMemory(
        14 * 14 * 32 * 4
    ) and second.saved_for_backward == BatchMemory(0), "the same memory, saved once"
    assert sum(layer.parameters for layer in layers.values()) == 3_274_634


def test_memory_in_place_and_out_of_place() -> None:
    """A ReLU in place saves one map; before the pooling, one pooling's input."""

    def saved_bytes(*modules: nn.Module) -> int:
        return sum_memory(
            [
                layer.saved_for_backward
                for layer in summarize_layers(nn.Sequential(*modules), (1, 8, 8))
            ]
        ).per_image

    conv, pool = nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2)
    after = nn.Conv2d(2, 2, 3, padding=1)
    image, full_maps, pooled_maps, pool_indices = 256, 512, 128, 256
    expected = image + full_maps + pool_indices + pooled_maps
    assert saved_bytes(conv, nn.ReLU(True), pool, after) == expected
    assert saved_bytes(conv, pool, nn.ReLU(True), after) == expected
    assert saved_bytes(conv, pool, nn.ReLU(False), after) == expected


def test_moments_do_not_grow_with_the_batch() -> None:
    norm = next(
        layer
        for layer in summarize_layers(
            nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4)), (1, 3, 3)
        )
        if layer.kind == "batch normalization"
    )
    assert (norm.weights, norm.biases, norm.buffers) == (4, 4, 8)
    assert (
        norm.saved_for_backward == BatchMemory(4 * 9 * 4, 2 * 4 * 4)
        and norm.saved_for_backward.for_batch(10) == 1440 + 32
        and SMALL_BATCH == 2
    )


def test_nothing_is_allocated_and_the_model_is_unchanged() -> None:
    with torch.device("meta"):
        huge = named_sequential(
            conv=nn.Conv2d(3, 10**6, 1001, padding=500),
            flat=nn.Flatten(),
            fc=nn.Linear(10**12, 10**6),
        )
    layers = summarize_layers(huge.eval(), (3, 1000, 1000))
    assert layers[-1].weights == 10**18 and layers[0].multiply_adds == 10**12 * 3 * 1001**2
    assert not huge.training and not any(
        m._forward_hooks or m._forward_pre_hooks for m in huge.modules()
    )


def test_frozen_parameters_are_summarized_as_in_training() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    expected = summarize_layers(model, (1, 8, 8))
    assert summarize_layers(model.eval().requires_grad_(False), (1, 8, 8)) == expected
    assert not any(p.requires_grad for p in model.parameters())
