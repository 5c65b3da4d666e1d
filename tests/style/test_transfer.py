from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.core.errors import CnnlabError
from cnnlab.style.descent import DESCENTS
from cnnlab.style.features import IMAGENET, Encoder, random_tensors, shapes
from cnnlab.style.losses import gram, relative
from cnnlab.style.plan import Size
from cnnlab.style.transfer import Easel, State, enlarged, transfer

SIZES = [(16, 20), (22, 28), (32, 40)]
KEYS = {"lbfgs": {"memory": 10}, "adam": {"lr": 0.05, "betas": [0.9, 0.99], "average": 0.9}}


def easel(**changes: object) -> Easel:
    g = torch.Generator().manual_seed(0)
    content, style = (torch.rand(1, 3, 32, 40, generator=g) for _ in range(2))
    tensors = random_tensors(shapes((2, 2, 1), (6, 8, 10)), torch.Generator().manual_seed(1))
    given = {
        "encoder": Encoder(tensors, IMAGENET),
        "content": lambda size: interpolate(content, size, mode="area"),
        "styles": [lambda size: interpolate(style, size, mode="area")],
        "style_sizes": [(32, 40)],
        "style_weights": [1.0],
        "style_scale": 1.0,
        "aim": relative(strength=0.8, layers=["relu1_1", "relu2_1", "relu3_1"], content_layer="relu2_2"),
        "variation": 0.0,
        "dtype": torch.float32,
    }
    return Easel(**(given | changes))  # type: ignore[arg-type]


def painted(made: Easel, method: str = "lbfgs", steps: int = 8, sizes: list[Size] = SIZES) -> list[State]:
    descend = partial(DESCENTS[method], **KEYS[method])  # type: ignore[arg-type]
    return list(transfer(made, sizes, made.content, descend, lambda scale, step: step >= steps))


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_the_loss_falls_at_each_scale_from_the_smallest_to_the_largest(method: str) -> None:
    states = painted(easel(), method)
    assert [state.size for state in states if state.last] == SIZES
    assert [state.total for state in states] == list(range(1, 25)) and [s.step for s in states[-8:]] == list(
        range(1, 9)
    )
    for scale in (1, 2, 3):
        losses = [float(state.terms[0]) for state in states if state.scale == scale]
        assert losses[-1] < losses[0]
    untouched = easel().loss(SIZES[-1])(easel().content(SIZES[-1]))[0]
    assert float(states[-1].terms[0]) < 0.8 * float(untouched[0])


def test_the_same_again_is_the_same_to_the_bit() -> None:
    one, other = (painted(easel())[-1].picture for _ in range(2))
    assert torch.equal(one, other)


def test_what_is_reported_is_the_loss_of_the_picture() -> None:
    made = easel()
    state = painted(made)[-1]
    torch.testing.assert_close(made.loss(state.size)(state.picture)[0], state.terms)
    torch.testing.assert_close(state.loss(state.picture)[0], state.terms)


def test_a_scale_starts_where_the_last_one_ended() -> None:
    seen: list[Tensor] = []

    def enough(scale: int, step: int) -> bool:
        return step >= 4

    made = easel()
    descend = partial(DESCENTS["lbfgs"], memory=5)

    def noted(loss, x):  # type: ignore[no-untyped-def]
        seen.append(x)
        return descend(loss, x)

    states = list(transfer(made, SIZES, made.content, noted, enough))
    torch.testing.assert_close(seen[0], made.content(SIZES[0]))
    assert enlarged(states[3].picture, SIZES[1]).shape[2:] == SIZES[1]


def test_half_precision_is_of_the_convolutions_alone() -> None:
    made = easel(dtype=torch.bfloat16)
    maps = made.maps(made.content(SIZES[-1]), made.names)
    assert all(one.dtype == torch.bfloat16 for one in maps.values()) and gram(maps["relu1_1"]).dtype == torch.float32
    terms, gradient = made.loss(SIZES[-1])(made.content(SIZES[-1]))
    exact, _ = easel().loss(SIZES[-1])(made.content(SIZES[-1]))
    assert terms.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(terms, exact, rtol=0.05, atol=0.02)
    assert float(painted(made)[-1].terms[0]) < 0.9 * float(exact[0])


def test_a_loss_that_is_not_finite_from_the_start_is_told() -> None:
    made = easel(content=lambda size: torch.full((1, 3, *size), float("nan")))
    with pytest.raises(CnnlabError, match="the loss is not finite before the first step at 20x16"):
        painted(made)


def test_only_what_is_needed_is_computed() -> None:
    made = easel()
    assert made.names == ("relu1_1", "relu2_1", "relu3_1", "relu2_2")
    assert list(made.maps(made.content(SIZES[0]), ["relu1_1"])) == ["relu1_1"]
