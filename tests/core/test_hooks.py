import pytest
import torch
from torch import nn

from cnnlab.core.errors import UsageError
from cnnlab.core.hooks import capture, capture_outputs, disable_inplace, find_last_linear, get_layer
from cnnlab.models.layers import named_sequential

MODEL = named_sequential(
    first=named_sequential(conv=nn.Conv2d(1, 2, 3), relu=nn.ReLU(inplace=True)),
    flatten=nn.Flatten(),
)


def test_outputs_are_captured_before_inplace_layers() -> None:
    x = torch.randn(2, 1, 5, 5)
    outputs = capture_outputs(disable_inplace(MODEL), x, ["flatten", "first.conv", "first"])
    assert list(outputs) == ["flatten", "first.conv", "first"]
    torch.testing.assert_close(outputs["first.conv"], MODEL.first.conv(x))
    assert (outputs["first.conv"] < 0).any() and torch.equal(
        outputs["first"], outputs["first.conv"].relu()
    )
    assert not MODEL.first.conv._forward_hooks, "nothing is left on the model"


def test_an_unknown_layer_names_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"layer 'first\.con' is not one of first, .*did you mean first\.conv\?"
    ):
        get_layer(MODEL, "first.con")
    with pytest.raises(UsageError, match=r"saliency\.layer .."):
        get_layer(MODEL, "", "saliency.layer")


def test_inputs_outputs_and_logits_are_of_one_pass() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    entering, leaving, answer = capture(model, x, ["2"], ["0", "1"])
    assert torch.equal(entering["2"], leaving["1"]) and torch.equal(
        leaving["0"].relu(), leaving["1"]
    )
    assert torch.equal(answer, model(x)) and torch.equal(leaving["0"], model[0](x))
    assert not model[2]._forward_hooks
    assert (
        find_last_linear(model) == "2"
        and find_last_linear(nn.Sequential(nn.Conv2d(1, 1, 1))) is None
    )


class Odd(nn.Module):
    """Adds to what a layer gave, in place, as torchvision's residual networks do; gives two; leaves
    one out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pair, self.idle = nn.Linear(3, 3), nn.LSTM(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        out += 1
        return out + self.pair(x)[0]


def test_captured_outputs_are_copies() -> None:
    model, x = Odd(), torch.randn(4, 3)
    with torch.no_grad():
        torch.testing.assert_close(capture_outputs(model, x, ["conv"])["conv"], model.conv(x))
    with pytest.raises(
        UsageError, match="pair returns a tuple, not one tensor: name another layer"
    ):
        capture_outputs(model, x, ["pair"])
    with pytest.raises(UsageError, match="the network does not call idle as a layer"):
        capture_outputs(model, x, ["idle"])
