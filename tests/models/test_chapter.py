import pytest
import torch
from cnnlab.models.mnist import cnn, mlp
from torch import nn

MNIST_CNN = {"filters": [32, 64], "extent": 5, "hidden": [1024], "dropout": 0.5}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_mnist_cnn_is_the_chapters() -> None:
    model = cnn((1, 28, 28), 10, **MNIST_CNN)
    # conv 5x5x1x32, conv 5x5x32x64, 7*7*64 -> 1024, 1024 -> 10, and a bias for each filter and unit
    assert parameters(model) == 25 * 32 + 32 + 25 * 32 * 64 + 64 + 7 * 7 * 64 * 1024 + 1024 + 1024 * 10 + 10
    assert [name for name, _ in model.named_children()] == ["conv_1", "conv_2", "flatten", "fc_1", "output"]
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert model.fc_1.dropout.p == 0.5


def test_mnist_mlp_is_two_hidden_layers_of_256() -> None:
    model = mlp((1, 28, 28), 10, hidden=[256, 256], dropout=0.0)
    assert parameters(model) == 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 24, 24), (2, 5, 31), (1, 29, 30)])
def test_a_network_takes_its_inputs_size_and_depth(shape: tuple[int, int, int]) -> None:
    for model in (cnn(shape, 7, **MNIST_CNN), mlp(shape, 7, hidden=[4], dropout=0.0)):
        assert model(torch.zeros(3, *shape)).shape == (3, 7)


def test_a_picture_pooled_away_is_refused() -> None:
    with pytest.raises(ValueError, match="2 poolings leave nothing of 3x9 pixels"):
        cnn((1, 3, 9), 10, **MNIST_CNN)
