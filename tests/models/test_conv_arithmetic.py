import random

import pytest
import torch
from torch import nn

from cnnlab.core.errors import UsageError
from cnnlab.core.schema import call_checked
from cnnlab.models.conv_arithmetic import (
    ConvAxis,
    conv_formulas,
    explain_layer,
    get_conv_axes,
    pool_formulas,
)
from cnnlab.models.layers import named_sequential
from cnnlab.models.summary import summarize_layers


def test_figures_5_11_and_5_12() -> None:
    result = conv_formulas(w=5, h=5, d=3, e=3, s=2, p=1, k=2)
    assert result.values["output"] == result.values["output_chapter"] == [3, 3, 2]
    assert (result.values["weights"], result.values["biases"], result.values["flops"]) == (
        54,
        2,
        2 * 9 * 54,
    )
    assert result.lines[0] == "convolution: 5x5x3 -> 3x3x2"
    assert (
        "  w_out = ceil((w_in - e + 2p) / s) + 1 = ceil((5 - 3 + 2*1) / 2) + 1 = 3" in result.lines
    )
    assert "  weights = k d_in e^2 = 2 * 3 * 3^2 = 54; biases = k = 2" in result.lines


def test_random_layers_match_pytorch() -> None:
    """Sizes, parameters, and the uncovered pixels, which have no effect on the output."""
    rng = random.Random(0)
    for _ in range(200):
        w, h, e, s, p = (rng.randint(*span) for span in ((3, 12), (3, 12), (1, 3), (1, 4), (0, 2)))
        d, k = rng.randint(1, 3), rng.randint(1, 3)
        values, layer = (
            conv_formulas(w=w, h=h, d=d, e=e, s=s, p=p, k=k).values,
            nn.Conv2d(d, k, e, s, p),
        )
        image = torch.zeros(1, d, h, w, requires_grad=True)
        output = layer(image)
        assert values["output"] == [*output.shape[:1:-1], k]
        assert (values["weights"], values["biases"]) == (layer.weight.numel(), layer.bias.numel())
        output.sum().backward()
        is_used = image.grad[0].ne(0).any(0)
        last_used = [max(is_used.any(axis).nonzero().flatten().tolist()) + 1 for axis in (0, 1)]
        # A filter smaller than its stride skips pixels inside, too; only the last one counts.
        assert last_used == [w - values["uncovered"][0], h - values["uncovered"][1]] or e < s
        ceil_shape = nn.MaxPool2d(e, s, ceil_mode=True)(torch.zeros(1, d, h, w)).shape
        if e >= s:  # PyTorch drops a window that would begin beyond the image
            assert pool_formulas(w=w, h=h, d=d, e=e, s=s).values["output_chapter"] == [
                *ceil_shape[:1:-1],
                d,
            ]


def test_rounding_and_uncovered_pixels_are_explained() -> None:
    assert conv_formulas(w=224, h=224, d=3, e=11, s=4, p=2, k=64).lines[-2:] == [
        "  PyTorch rounds down: 55x55 where the chapter has 56x56",
        "  only padding is uncovered",
    ]
    assert pool_formulas(w=28, h=27, d=1, e=2, s=2).lines[-1] == "  no filter covers the last row"
    assert (
        pool_formulas(w=10, h=10, d=1, e=3, s=4).lines[-1]
        == "  no filter covers the last 3 columns and 3 rows"
    )
    assert (
        pool_formulas(w=28, h=28, d=1, e=2, s=2).lines[-1] == "  PyTorch rounds down: the same here"
    )


def test_formulas_match_the_layer() -> None:
    model = named_sequential(
        conv=nn.Conv2d(2, 3, (3, 1)),
        pool=nn.MaxPool2d(2),
        dilated=nn.Conv2d(3, 3, 2, dilation=2),
        flat=nn.Flatten(),
        fc=nn.Linear(24, 4),
    )
    layers = {layer.name: layer for layer in summarize_layers(model, (2, 10, 12))}
    convolution = explain_layer(layers["conv"])
    assert convolution[0] == "convolution: 12x10x2 -> 12x8x3"
    assert "  weights = k d_in e_w e_h = 3 * 2 * 1 * 3 = 18; biases = k = 3" in convolution
    assert explain_layer(layers["pool"])[0] == "pooling: 12x8x3 -> 6x4x3"
    assert (
        get_conv_axes(layers["dilated"]) is None
        and "no formulas" in explain_layer(layers["dilated"])[0]
    )
    assert explain_layer(layers["fc"])[1] == "  weights = inputs * units = 24 * 4 = 96; biases = 4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"e": 9}, "conv: e=9 is larger than w=5 with padding p=1"),
        ({"s": 0}, "conv: s must be at least 1, not 0"),
        ({"p": -1}, "conv: p must be at least 0, not -1"),
        ({"k": 0}, "conv: k must be at least 1, not 0"),
        ({"w": "x"}, "conv.w must be a whole number, not 'x'"),
        ({"ww": 5}, "unknown key conv.ww; conv takes w, h, d, e, s, p, k; did you mean w?"),
    ],
)
def test_invalid_shapes_are_refused(change: dict[str, object], message: str) -> None:
    values = {"w": 5, "h": 5, "d": 3, "e": 3, "s": 2, "p": 1, "k": 2} | change
    with pytest.raises(UsageError) as error:
        call_checked(conv_formulas, values, "conv")
    assert str(error.value) == message


def test_ceil_and_floor_sizes() -> None:
    side = ConvAxis("w", 6, 3, 2, 0)
    assert (side.ceil_size, side.floor_size, side.uncovered) == (3, 2, 1)
