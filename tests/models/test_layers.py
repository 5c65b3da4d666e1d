import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.models.layers import convolution, fully_connected, initialize, stack


def tied(filters: torch.Tensor, size: int) -> torch.Tensor:
    """(K, C, e, e) filters -> the (K * size^2, C * size^2) matrix of the fully connected layer that figure 5-7 draws:
    connections of one colour share one weight; zero padding keeps the size."""
    k, c, e, _ = filters.shape
    matrix = torch.zeros(k, size, size, c, size, size, dtype=filters.dtype)
    for i in range(size):
        for j in range(size):
            for di in range(e):
                for dj in range(e):
                    row, column = i + di - e // 2, j + dj - e // 2
                    if 0 <= row < size and 0 <= column < size:
                        matrix[:, i, j, :, row, column] = filters[:, :, di, dj]
    return matrix.view(k * size * size, c * size * size)


def test_a_convolution_is_the_fully_connected_layer_with_tied_weights() -> None:
    """Figure 5-7: forward, and in the gradient, which is the sum over the connections that share a weight."""
    size, rng = 5, torch.Generator().manual_seed(0)
    filters = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=rng, requires_grad=True)
    x = torch.randn(4, 2, size, size, dtype=torch.float64, generator=rng)
    upstream = torch.randn(4, 3, size, size, dtype=torch.float64, generator=rng)

    by_convolution = F.conv2d(x, filters, padding=1)
    by_convolution.backward(upstream)
    matrix = tied(filters.detach(), size).requires_grad_()
    by_matrix = (x.flatten(1) @ matrix.t()).view(4, 3, size, size)
    by_matrix.backward(upstream)

    torch.testing.assert_close(by_convolution, by_matrix)
    # Which weight each connection shares: a filter of the weights' own numbers, laid out in the same way.
    owner = tied(torch.arange(1, 55, dtype=torch.float64).view(3, 2, 3, 3), size).long()
    summed = torch.zeros(55, dtype=torch.float64).index_add_(0, owner.flatten(), matrix.grad.flatten())
    torch.testing.assert_close(filters.grad.flatten(), summed[1:])


def test_pooling_before_the_relu_changes_nothing() -> None:
    """The chapter has the ReLU first: the same output and the same gradients, to the last bit."""
    ours = convolution(2, 5, 3)
    theirs = nn.Sequential(ours.conv, nn.ReLU(), nn.MaxPool2d(2))
    x = torch.randn(3, 2, 9, 8)
    gradients = []
    for network in (ours, theirs):
        ours.zero_grad()
        y = network(x)
        y.square().sum().backward()
        gradients.append((y, ours.conv.weight.grad, ours.conv.bias.grad))
    for mine, other in zip(*gradients, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("extent", [1, 3, 5, 7])
def test_padding_keeps_the_size_and_pooling_halves_it(extent: int) -> None:
    assert convolution(3, 4, extent)(torch.zeros(2, 3, 28, 27)).shape == (2, 4, 14, 13)


def test_weights_begin_as_the_chapter_says() -> None:
    model = stack(conv=convolution(8, 200, 5), fc=fully_connected(300, 400, 0.5))
    initialize(model, torch.Generator().manual_seed(1))
    for weight, bias, fan_in in (
        (model.conv.conv.weight, model.conv.conv.bias, 8 * 25),
        (model.fc.linear.weight, model.fc.linear.bias, 300),
    ):
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
        assert abs(weight.mean().item()) < 1e-3 and not bias.any()
    again = stack(conv=convolution(8, 200, 5), fc=fully_connected(300, 400, 0.5))
    initialize(again, torch.Generator().manual_seed(1))
    assert torch.equal(again.fc.linear.weight, model.fc.linear.weight)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="extent must be odd"):
        convolution(1, 1, 4)
    for dropout in (1.0, -0.1):
        with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
            fully_connected(1, 1, dropout)
