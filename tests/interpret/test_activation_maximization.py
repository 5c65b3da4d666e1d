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
OPTIONS = {"steps": 60, "lr": 0.1, "jitter": 0, "smoothness": torch.tensor(0.0), "seed": 0}


def test_a_linear_score_reaches_its_known_maximum() -> None:
    """A linear score is largest where each pixel is white for a positive weight and black for a
    negative one."""
    weights = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    images = maximize_activation(
        lambda x: (x * weights).sum((1, 2, 3)), (2, 1, 8, 8), CPU, **OPTIONS
    )
    best = weights.clamp(min=0).sum((1, 2, 3))
    assert ((images * weights).sum((1, 2, 3)) > 0.9 * best).all()
    assert images.min() >= 0 and images.max() <= 1


def test_an_image_does_not_depend_on_the_others_and_repeats_by_its_seed() -> None:
    weights = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(4))

    def maximize(units: list[int], **changes: Any) -> Tensor:
        w = weights[units]
        return maximize_activation(
            lambda x: (x * w).tanh().sum((1, 2, 3)),
            (len(units), 1, 6, 6),
            CPU,
            **OPTIONS | {"jitter": 1} | changes,
        )

    assert torch.equal(maximize([0, 1, 2]), maximize([0, 1, 2]))
    torch.testing.assert_close(maximize([0, 1, 2])[1:2], maximize([1]), rtol=1e-4, atol=1e-5)
    assert not torch.equal(maximize([0]), maximize([0], seed=1))
    assert mean_total_variation(
        maximize([0], smoothness=torch.tensor(50.0))
    ) < mean_total_variation(maximize([0]))


def test_a_score_that_is_not_finite_raises() -> None:
    with pytest.raises(ValueError, match="the score is not finite"):
        maximize_activation(lambda x: x.sum((1, 2, 3)) / 0, (1, 1, 6, 6), CPU, **OPTIONS)


def test_grids_double_up_to_the_image() -> None:
    assert list_grid_sizes((2, 3, 28, 28)) == [(2, 3, n, n) for n in (4, 7, 14, 28)]
    assert list_grid_sizes((1, 1, 4, 4)) == [(1, 1, 4, 4)]


def test_leaky_gradients_leave_the_output_unchanged() -> None:
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


def test_jitter_shifts_the_image_along_both_axes() -> None:
    seen: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    still = maximize_activation(
        score, (1, 1, 6, 6), CPU, **OPTIONS | {"lr": 1e-12, "jitter": 1, "steps": 40}
    )
    places = {(d, a): still.roll((d, a), (2, 3)) for d in (-1, 0, 1) for a in (-1, 0, 1)}
    shifts = {
        place
        for x in seen
        for place, moved in places.items()
        if torch.allclose(x, moved, atol=1e-6)
    }
    assert shifts == set(places)
