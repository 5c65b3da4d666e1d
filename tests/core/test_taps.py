import pytest
import torch
from torch import nn

from cnnlab.core.errors import UsageError
from cnnlab.core.taps import layer, out_of_place, outputs
from cnnlab.models.layers import stack

MODEL = stack(first=stack(conv=nn.Conv2d(1, 2, 3), relu=nn.ReLU(inplace=True)), flatten=nn.Flatten())


def test_each_layers_own_output_is_seen_even_where_the_next_would_overwrite_it() -> None:
    x = torch.randn(2, 1, 5, 5)
    found = outputs(out_of_place(MODEL), x, ["flatten", "first.conv", "first"])
    assert list(found) == ["flatten", "first.conv", "first"]
    torch.testing.assert_close(found["first.conv"], MODEL.first.conv(x))
    assert (found["first.conv"] < 0).any() and torch.equal(found["first"], found["first.conv"].relu())
    assert not MODEL.first.conv._forward_hooks, "nothing is left on the model"


def test_a_misspelt_layer_is_told_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"layer 'first\.con' is not one of first, .*did you mean first\.conv\?"):
        layer(MODEL, "first.con")
    with pytest.raises(UsageError, match=r"saliency\.layer .."):
        layer(MODEL, "", "saliency.layer")
