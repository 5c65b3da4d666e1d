import pytest
import torch
from torch import nn

from cnnlab.models.cnn import cnn, mlp
from cnnlab.models.layers import POOLINGS

PLAIN = {"pool": "max", "batch_norm": None, "output": "linear"}
MNIST_CNN = PLAIN | {"filters": [32, 64], "extent": 5, "hidden": [1024], "dropout": 0.5}
CIFAR_CNN = PLAIN | {"filters": [64, 64], "extent": 5, "hidden": [384, 192], "dropout": 0.5}
CIFAR_BN = CIFAR_CNN | {"dropout": 0.0, "batch_norm": {"decay": 0.9, "eps": 1e-3}}


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_mnist_cnn_matches_the_chapter() -> None:
    model = cnn((1, 28, 28), 10, **MNIST_CNN)
    # conv 5x5x1x32, conv 5x5x32x64, 7*7*64 -> 1024, 1024 -> 10, and a bias for each filter and unit
    assert (
        count_parameters(model)
        == 25 * 32 + 32 + 25 * 32 * 64 + 64 + 7 * 7 * 64 * 1024 + 1024 + 1024 * 10 + 10
    )
    assert [name for name, _ in model.named_children()] == [
        "conv_1",
        "conv_2",
        "flatten",
        "fc_1",
        "output",
    ]
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert model.fc_1.dropout.p == 0.5


def test_mnist_mlp_is_two_hidden_layers_of_256() -> None:
    model = mlp((1, 28, 28), 10, hidden=[256, 256], dropout=0.0)
    assert count_parameters(model) == 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10


def test_the_cifar10_networks_match_the_chapter() -> None:
    plain, normed = (cnn((3, 24, 24), 10, **keys) for keys in (CIFAR_CNN, CIFAR_BN))
    weights = (
        25 * 3 * 64
        + 64
        + 25 * 64 * 64
        + 64
        + 6 * 6 * 64 * 384
        + 384
        + 384 * 192
        + 192
        + 192 * 10
        + 10
    )
    assert count_parameters(plain) == weights
    assert count_parameters(normed) == weights + 2 * (64 + 64 + 384 + 192)  # gamma and beta
    assert not any(isinstance(module, nn.Dropout) for module in normed.modules())
    for model in (plain, normed):
        assert model(torch.zeros(2, 3, 24, 24)).shape == (2, 10)
        assert model(torch.zeros(2, 3, 24, 24)).min() < 0 or not model.output.weight.any()


def test_as_listed_adds_batch_normalization_and_relu_to_the_logits() -> None:
    model = cnn((3, 24, 24), 10, **CIFAR_BN | {"output": "as_listed"})
    assert [name for name, _ in model.output.named_children()] == ["linear", "norm", "relu"]
    assert model(torch.randn(9, 3, 24, 24)).min() == 0
    assert [
        name
        for name, _ in cnn(
            (3, 24, 24), 10, **CIFAR_CNN | {"output": "as_listed"}
        ).output.named_children()
    ] == [
        "linear",
        "relu",
    ]


@pytest.mark.parametrize("pool", POOLINGS)
def test_every_pooling_builds_a_network(pool: str) -> None:
    for size in (8, 24, 27):
        assert cnn((3, size, size), 10, **CIFAR_BN | {"pool": pool})(
            torch.zeros(2, 3, size, size)
        ).shape == (2, 10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 24, 24), (2, 5, 31), (1, 29, 30)])
def test_networks_follow_the_input_shape(shape: tuple[int, int, int]) -> None:
    for model in (cnn(shape, 7, **MNIST_CNN), mlp(shape, 7, hidden=[4], dropout=0.0)):
        assert model(torch.zeros(3, *shape)).shape == (3, 7)


def test_too_many_poolings_are_refused() -> None:
    with pytest.raises(ValueError, match="2 poolings leave nothing of 3x9 pixels"):
        cnn((1, 3, 9), 10, **MNIST_CNN)
