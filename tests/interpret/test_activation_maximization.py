from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnlab.interpret.activation_maximization import (
    list_grid_sizes,
    maximize_activation,
    mean_total_variation,
    use_leaky_relu_gradients,
)
from cnnlab.models.layers import named_sequential

CPU = torch.device("cpu")
CLIMB = {"steps": 60, "lr": 0.1, "jitter": 0, "smoothness": torch.tensor(0.0), "seed": 0}


def test_it_finds_the_best_picture_of_a_score_whose_best_is_known() -> None:
    """A linear score is largest where each pixel is white for a positive weight and black for a negative one."""
    weights = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    made = maximize_activation(lambda x: (x * weights).sum((1, 2, 3)), (2, 1, 8, 8), CPU, **CLIMB)
    best = weights.clamp(min=0).sum((1, 2, 3))
    assert ((made * weights).sum((1, 2, 3)) > 0.9 * best).all()
    assert made.min() >= 0 and made.max() <= 1


def test_a_picture_does_not_depend_on_its_neighbours_and_repeats_by_its_seed() -> None:
    weights = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(4))

    def made(which: list[int], **other: Any) -> Tensor:
        w = weights[which]
        return maximize_activation(
            lambda x: (x * w).tanh().sum((1, 2, 3)),
            (len(which), 1, 6, 6),
            CPU,
            **CLIMB | {"jitter": 1} | other,
        )

    assert torch.equal(made([0, 1, 2]), made([0, 1, 2]))
    torch.testing.assert_close(made([0, 1, 2])[1:2], made([1]), rtol=1e-4, atol=1e-5)
    assert not torch.equal(made([0]), made([0], seed=1))
    assert mean_total_variation(made([0], smoothness=torch.tensor(50.0))) < mean_total_variation(
        made([0])
    )


def test_a_score_that_breaks_is_said_to() -> None:
    with pytest.raises(ValueError, match="the score is not finite"):
        maximize_activation(lambda x: x.sum((1, 2, 3)) / 0, (1, 1, 6, 6), CPU, **CLIMB)


def test_grids_double_up_to_the_picture() -> None:
    assert list_grid_sizes((2, 3, 28, 28)) == [(2, 3, n, n) for n in (4, 7, 14, 28)]
    assert list_grid_sizes((1, 1, 4, 4)) == [(1, 1, 4, 4)]


def test_a_silent_unit_can_be_woken_and_what_it_says_stays_exact() -> None:
    layer = named_sequential(linear=nn.Linear(4, 3), relu=nn.ReLU())
    x = torch.randn(6, 4, requires_grad=True)
    plain = layer(x)
    with use_leaky_relu_gradients(layer):
        out = layer(x)
        assert torch.equal(out, plain)
        (slope,) = torch.autograd.grad(out.sum(), x)
    passed = torch.where(layer.linear(x) > 0, 1.0, 0.1)
    torch.testing.assert_close(slope, passed @ layer.linear.weight)
    assert not layer.relu._forward_hooks


def test_jitter_moves_the_picture_both_ways() -> None:
    seen: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    still = maximize_activation(
        score, (1, 1, 6, 6), CPU, **CLIMB | {"lr": 1e-12, "jitter": 1, "steps": 40}
    )
    places = {(d, a): still.roll((d, a), (2, 3)) for d in (-1, 0, 1) for a in (-1, 0, 1)}
    found = {
        place
        for x in seen
        for place, moved in places.items()
        if torch.allclose(x, moved, atol=1e-6)
    }
    assert found == set(places)
