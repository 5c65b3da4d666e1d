import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.core.errors import UsageError
from cnnlab.models.cnn import cnn
from cnnlab.models.layers import (
    POOLINGS,
    FractionalMaxPool,
    conv_block,
    copy_with_random_weights,
    initialize_weights,
    linear_block,
    named_sequential,
)

NORM = {"decay": 0.9, "eps": 1e-3}


def to_dense_matrix(filters: torch.Tensor, size: int) -> torch.Tensor:
    """Return the (K * size^2, C * size^2) matrix of figure 5-7's fully connected layer for
    (K, C, e, e) filters: connections of one color share one weight; zero padding keeps the size."""
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
    """Figure 5-7: forward, and in the gradient, which is the sum over the connections that share a
    weight."""
    size, rng = 5, torch.Generator().manual_seed(0)
    filters = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=rng, requires_grad=True)
    x = torch.randn(4, 2, size, size, dtype=torch.float64, generator=rng)
    upstream = torch.randn(4, 3, size, size, dtype=torch.float64, generator=rng)

    by_convolution = F.conv2d(x, filters, padding=1)
    by_convolution.backward(upstream)
    matrix = to_dense_matrix(filters.detach(), size).requires_grad_()
    by_matrix = (x.flatten(1) @ matrix.t()).view(4, 3, size, size)
    by_matrix.backward(upstream)

    torch.testing.assert_close(by_convolution, by_matrix)
    # The index of the weight that each connection shares.
    indices = torch.arange(1, 55, dtype=torch.float64).view(3, 2, 3, 3)
    weight_index = to_dense_matrix(indices, size).long()
    summed = torch.zeros(55, dtype=torch.float64).index_add_(
        0, weight_index.flatten(), matrix.grad.flatten()
    )
    torch.testing.assert_close(filters.grad.flatten(), summed[1:])


@pytest.mark.parametrize(
    ("pool", "theirs"), [("max", nn.MaxPool2d(2)), ("overlapping", nn.MaxPool2d(3, 2, 1))]
)
def test_pooling_commutes_with_the_relu(pool: str, theirs: nn.Module) -> None:
    """The chapter has the ReLU first: the same output and the same gradients, to the last bit."""
    ours = conv_block(2, 5, 3, pool, NORM)
    relu_first = nn.Sequential(ours.conv, ours.norm, nn.ReLU(), theirs)
    x = torch.randn(3, 2, 9, 8)
    gradients = []
    for network in (ours, relu_first):
        ours.zero_grad()
        y = network(x)
        y.square().sum().backward()
        gradients.append((y, ours.conv.weight.grad, ours.norm.weight.grad))
    for actual, expected in zip(*gradients, strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("extent", [1, 3, 5, 7])
@pytest.mark.parametrize("pool", POOLINGS)
def test_output_sizes_match_the_poolings_table(extent: int, pool: str) -> None:
    size = POOLINGS[pool].output_size
    shape = conv_block(3, 4, extent, pool, None)(torch.zeros(2, 3, 28, 27)).shape
    assert shape == (2, 4, size(28), size(27))
    assert size(24) == (16 if pool == "fractional" else 12)


def test_average_pooling_follows_the_relu_and_a_stride_replaces_pooling() -> None:
    average, strided = conv_block(2, 5, 3, "average", None), conv_block(2, 5, 3, "strided", None)
    x = torch.randn(3, 2, 8, 8)
    torch.testing.assert_close(average(x), F.avg_pool2d(F.relu(average.conv(x)), 2))
    torch.testing.assert_close(
        strided(x),
        F.relu(F.conv2d(x, strided.conv.weight, strided.conv.bias, padding=1))[:, :, ::2, ::2],
    )


def test_fractional_pooling_takes_maxima_of_overlapping_pairs_at_steps_of_one_or_two() -> None:
    """Graham 2014, section 2: a_1 = 1, ..., increments of one or two, pooling regions [a_i, a_i +
    1]."""
    pool, x = FractionalMaxPool(), torch.arange(144.0).view(1, 1, 12, 12)
    torch.manual_seed(0)
    starts = set()
    for _ in range(20):
        y = pool(x)[0, 0]
        rows = (y[:, 0] // 12 - 1).long()  # the first row of each region
        columns = y[0].remainder(12).long() - 1
        for first in (rows, columns):
            assert first[0] == 0 and first[-1] == 10 and set(first.diff().tolist()) <= {1, 2}
        assert torch.equal(y, (rows[:, None] + 1) * 12.0 + columns[None] + 1)
        starts.add(tuple(rows.tolist()))
    assert len(starts) > 1
    pool.eval()
    assert torch.equal(pool(x), pool(x))


@pytest.mark.parametrize("training", [True, False])
def test_deterministic_fractional_pooling_equals_torchs(
    monkeypatch: pytest.MonkeyPatch, training: bool
) -> None:
    """torch has no deterministic gradient on CUDA; values and gradients, to the last bit."""
    pool, x = FractionalMaxPool().train(training), torch.randn(3, 4, 13, 10).relu_()
    results = []
    for is_deterministic in (False, True):
        monkeypatch.setattr(
            torch, "are_deterministic_algorithms_enabled", bool(is_deterministic).__bool__
        )
        torch.manual_seed(0)
        inputs = x.clone().requires_grad_()
        y = pool(inputs)
        (y * torch.arange(1.0, y.numel() + 1).view(y.shape)).sum().backward()
        names = {type(node).__name__ for node, _ in y.grad_fn.next_functions}
        results.append((y, inputs.grad, names | {type(y.grad_fn).__name__}))
    (y, grad, plain), (other_y, other_grad, deterministic) = results
    assert torch.equal(y, other_y) and torch.equal(grad, other_grad)
    assert any("Fractional" in name for name in plain)
    assert not any("Fractional" in name for name in deterministic)


@pytest.mark.parametrize(
    "layer",
    [conv_block(2, 5, 3, "average", NORM), linear_block(12, 5, 0, NORM, has_random_bias=False)],
)
def test_batch_normalization_matches_the_chapter(layer: nn.Sequential) -> None:
    """`conv_batch_norm` and `layer_batch_norm`, in float64: moments over all but the channels, eps
    1e-3, gamma, beta; running moments by decay 0.9, torch's variance n/(n-1) times the chapter's;
    these are used in evaluation."""
    layer = layer.double().train()
    norm, first = layer.norm, layer[0]
    torch.manual_seed(0)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    mean, variance = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    for _ in range(3):
        x = (
            torch.randn(6, 2, 4, 4, dtype=torch.float64)
            if isinstance(first, nn.Conv2d)
            else torch.randn(6, 12).double()
        )
        logits = first(x)
        axes = tuple(axis for axis in range(logits.ndim) if axis != 1)
        n = logits.numel() // 5
        batch_mean, batch_variance = logits.mean(axes), logits.var(axes, correction=0)
        mean, variance = (
            0.9 * mean + 0.1 * batch_mean,
            0.9 * variance + 0.1 * batch_variance * n / (n - 1),
        )
        shape = [1, 5, *[1] * (logits.ndim - 2)]

        def normalize(
            m: torch.Tensor, v: torch.Tensor, z: torch.Tensor, shape: list[int] = shape
        ) -> torch.Tensor:
            m, v, gamma, beta = (t.view(shape) for t in (m, v, norm.weight, norm.bias))
            return gamma * (z - m) / (v + 1e-3).sqrt() + beta

        torch.testing.assert_close(norm(logits), normalize(batch_mean, batch_variance, logits))
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
    layer.eval()
    torch.testing.assert_close(norm(logits), normalize(mean, variance, logits))
    assert [type(module).__name__ for module in layer][:3][1].startswith("BatchNorm"), (
        "before the nonlinearity"
    )


def test_initialization_matches_the_chapter() -> None:
    model = named_sequential(
        conv=conv_block(8, 200, 5, "max", NORM),
        fc=linear_block(300, 400, 0.5, None, has_random_bias=False),
    )
    initialize_weights(model, torch.Generator().manual_seed(1))
    for weight, bias, fan_in in (
        (model.conv.conv.weight, model.conv.conv.bias, 8 * 25),
        (model.fc.linear.weight, model.fc.linear.bias, 300),
    ):
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
        assert abs(weight.mean().item()) < 1e-3 and not bias.any()
    same_seed = named_sequential(
        conv=conv_block(8, 200, 5, "max", NORM),
        fc=linear_block(300, 400, 0.5, None, has_random_bias=False),
    )
    initialize_weights(same_seed, torch.Generator().manual_seed(1))
    assert torch.equal(same_seed.fc.linear.weight, model.fc.linear.weight)


def test_as_listed_biases_are_initialized_like_weights() -> None:
    layer = linear_block(300, 4000, 0.0, None, has_random_bias=True)
    initialize_weights(layer, torch.Generator().manual_seed(1))
    assert layer.linear.bias.std().item() == pytest.approx((2 / 300) ** 0.5, rel=0.05)


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="extent must be odd"):
        conv_block(1, 1, 4, "max", None)
    with pytest.raises(ValueError, match=r"pool 'maks' is not one of .*did you mean max"):
        conv_block(1, 1, 3, "maks", None)
    for dropout in (1.0, -0.1):
        with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
            linear_block(1, 1, dropout, None, has_random_bias=False)
    for norm in ({"decay": 1.0, "eps": 1e-3}, {"decay": 0.9, "eps": 0.0}):
        with pytest.raises(ValueError, match="batch_norm: decay must be"):
            conv_block(1, 1, 3, "max", norm)
    with pytest.raises(UsageError, match=r"unknown key model\.batch_norm\.momentum"):
        conv_block(1, 1, 3, "max", {"momentum": 0.1, "eps": 1e-3})


def test_randomized_copy_has_fresh_weights_and_the_images_moments() -> None:
    norm = {"decay": 0.9, "eps": 1e-3}
    model = cnn(
        (1, 8, 8),
        4,
        filters=[3],
        extent=3,
        pool="max",
        hidden=[5],
        dropout=0.0,
        batch_norm=norm,
        output="linear",
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(64, 1, 8, 8)
    copy = copy_with_random_weights(model.eval(), torch.Generator().manual_seed(1), images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    initialize_weights(model, torch.Generator().manual_seed(1))
    assert torch.equal(copy.conv_1.conv.weight, model.conv_1.conv.weight) and not copy.training
    assert torch.equal(copy.conv_1.norm.weight, torch.ones(3))
    maps = copy.conv_1.conv(images)
    torch.testing.assert_close(
        copy.conv_1.norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        copy.conv_1.norm.running_var, maps.var((0, 2, 3)), rtol=1e-4, atol=1e-5
    )
