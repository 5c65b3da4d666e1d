from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.core.errors import CnnlabError
from cnnlab.style.descent import DESCENTS
from cnnlab.style.easel import Easel
from cnnlab.style.features import IMAGENET, Encoder, random_tensors, shapes
from cnnlab.style.losses import gram, relative
from cnnlab.style.plan import Budget, Size
from cnnlab.style.transfer import State, enlarged, transfer

SIZES = [(16, 20), (22, 28), (32, 40)]
TINT = torch.tensor([1.0, 0.5, 0.2]).view(1, 3, 1, 1)
KEYS = {"lbfgs": {"memory": 10}, "adam": {"lr": 0.05, "betas": [0.9, 0.99], "average": 0.9}}


def easel(**changes: object) -> Easel:
    g = torch.Generator().manual_seed(0)
    content, style = (torch.rand(1, 3, *size, generator=g) for size in ((4, 5), (32, 40)))
    content, style = (
        interpolate(content, (32, 40), mode="bilinear"),
        style * torch.tensor([1, 0.5, 0.2]).view(1, 3, 1, 1),
    )
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
        "piece": 1 << 60,
    }
    return Easel(**(given | changes))  # type: ignore[arg-type]


def terms(made: Easel, x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    return made.judged(made.objective((height, width)), x)


def painted(made: Easel, method: str = "lbfgs", steps: int = 8, sizes: list[Size] = SIZES) -> list[State]:
    descend = partial(DESCENTS[method], **KEYS[method])  # type: ignore[arg-type]
    return list(transfer(made, made.content, descend, Budget(sizes, [steps] * len(sizes))))


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
    untouched = terms(easel(), easel().content(SIZES[-1]))
    assert float(states[-1].terms[0]) < 0.8 * float(untouched[0])


def test_the_same_again_is_the_same_to_the_bit() -> None:
    one, other = (painted(easel())[-1].picture for _ in range(2))
    assert torch.equal(one, other)


def test_what_is_reported_is_the_loss_of_the_picture() -> None:
    made = easel()
    state = painted(made)[-1]
    torch.testing.assert_close(terms(made, state.picture), state.terms)
    torch.testing.assert_close(made.judged(state.objective, state.picture), state.terms)


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_a_scale_starts_where_the_last_one_ended(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    kind = DESCENTS[method]
    before = kind.larger

    def larger(self, loss, x):  # type: ignore[no-untyped-def]
        seen.append(x)
        return before(self, loss, x)

    monkeypatch.setattr(kind, "larger", larger)
    states = [state for state in painted(easel(), method) if state.last]
    assert len(seen) == 2
    for ended, begun, size in zip(states, seen, SIZES[1:], strict=False):
        torch.testing.assert_close(begun, enlarged(ended.picture, size))


def test_several_paintings_are_one_target_and_in_any_order() -> None:
    g = torch.Generator().manual_seed(5)
    others = [torch.rand(1, 3, 30, 30, generator=g) for _ in range(2)]
    pictures = [lambda size, one=one: interpolate(one, size, mode="area") for one in others]
    keys = {"style_sizes": [(30, 30)] * 2}
    x = easel().content(SIZES[-1])
    one, other = (
        terms(easel(styles=pictures[::way], style_weights=[2.0, 1.0][::way], **keys), x + 0.01) for way in (1, -1)
    )
    torch.testing.assert_close(one, other)
    alone = terms(easel(styles=pictures[:1], style_sizes=[(30, 30)]), x + 0.01)
    torch.testing.assert_close(terms(easel(styles=pictures, style_weights=[1.0, 0.0], **keys), x + 0.01), alone)
    assert not torch.allclose(one, alone)


def test_half_precision_is_of_the_convolutions_alone() -> None:
    made = easel(dtype=torch.bfloat16)
    (whole,) = made.pieces(SIZES[-1])
    maps = made.maps(made.content(SIZES[-1]), whole)
    assert all(one.dtype == torch.bfloat16 for one in maps.values()) and gram(maps["relu1_1"]).dtype == torch.float32
    found, gradient = made.loss(made.objective(SIZES[-1]))(made.content(SIZES[-1]))
    exact = terms(easel(), made.content(SIZES[-1]))
    assert found.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.02)
    assert float(painted(made)[-1].terms[0]) < 0.9 * float(exact[0])


def test_a_loss_that_is_not_finite_from_the_start_is_told() -> None:
    made = easel(content=lambda size: torch.full((1, 3, *size), float("nan")))
    with pytest.raises(CnnlabError, match="the loss is not finite before the first step at 20x16"):
        painted(made)


def test_only_what_is_needed_is_computed() -> None:
    made = easel()
    assert made.names == ("relu1_1", "relu2_1", "relu3_1", "relu2_2")
    assert list(made.encoder(made.content(SIZES[0]), ["relu1_1"])) == ["relu1_1"]
