from functools import partial

import pytest
import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError
from cnnlab.style.budget import TransferBudget
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
from cnnlab.style.scales import Size
from cnnlab.style.tiled_loss import TransferLoss
from cnnlab.style.transfer import TransferState, transfer_style, upsample_bicubic
from tests.style.test_tiled_loss import SIZES, easel, terms

KEYS = {"lbfgs": {"history_size": 10}, "adam": {"lr": 0.05, "betas": [0.9, 0.99], "ema_decay": 0.9}}


def painted(
    made: TransferLoss, method: str = "lbfgs", steps: int = 8, sizes: list[Size] = SIZES
) -> list[TransferState]:
    descend = partial(IMAGE_OPTIMIZERS[method], **KEYS[method])  # type: ignore[arg-type]
    return list(
        transfer_style(
            made,
            made.content,
            descend,
            TransferBudget(sizes, [steps] * len(sizes), [1.0] * len(sizes)),
        )
    )


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_loss_falls_at_each_scale(method: str) -> None:
    states = painted(easel(), method)
    assert [state.size for state in states if state.is_last] == SIZES
    assert [state.total_steps for state in states] == list(range(1, 25)) and [
        s.step for s in states[-8:]
    ] == list(range(1, 9))
    for scale in (1, 2, 3):
        losses = [float(state.terms[0]) for state in states if state.scale == scale]
        assert losses[-1] < losses[0]
    untouched = terms(easel(), easel().content(SIZES[-1]))
    assert float(states[-1].terms[0]) < 0.8 * float(untouched[0])


def test_transfer_is_deterministic() -> None:
    one, other = (painted(easel())[-1].image for _ in range(2))
    assert torch.equal(one, other)


def test_reported_terms_are_those_of_the_image() -> None:
    made = easel()
    state = painted(made)[-1]
    torch.testing.assert_close(terms(made, state.image), state.terms)
    torch.testing.assert_close(made.evaluate_terms(state.objective, state.image), state.terms)


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_scale_starts_from_the_previous_result(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    kind = IMAGE_OPTIMIZERS[method]
    before = kind.rescale

    def larger(self, loss, x):  # type: ignore[no-untyped-def]
        seen.append(x)
        return before(self, loss, x)

    monkeypatch.setattr(kind, "rescale", larger)
    states = [state for state in painted(easel(), method) if state.is_last]
    assert len(seen) == 2
    for ended, begun, size in zip(states, seen, SIZES[1:], strict=False):
        torch.testing.assert_close(begun, upsample_bicubic(ended.image, size))


def test_nonfinite_initial_loss_is_refused() -> None:
    made = easel(content=lambda size: torch.full((1, 3, *size), float("nan")))
    with pytest.raises(CnnlabError, match="the loss is not finite before the first step at 20x16"):
        painted(made)
