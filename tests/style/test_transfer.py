from functools import partial

import pytest
import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
from cnnlab.style.scales import Size
from cnnlab.style.tiled_loss import TransferLoss
from cnnlab.style.time_budget import TransferBudget
from cnnlab.style.transfer import TransferState, resize_bicubic, transfer_style
from tests.style.test_tiled_loss import SIZES, compute_loss_terms, make_loss

OPTIONS = {
    "lbfgs": {"history_size": 10},
    "adam": {"lr": 0.05, "betas": [0.9, 0.99], "ema_decay": 0.9},
}


def run_transfer(
    loss: TransferLoss, optimizer: str = "lbfgs", steps: int = 8, sizes: list[Size] = SIZES
) -> list[TransferState]:
    make_optimizer = partial(IMAGE_OPTIMIZERS[optimizer], **OPTIONS[optimizer])  # type: ignore[arg-type]
    return list(
        transfer_style(
            loss,
            loss.content,
            make_optimizer,
            TransferBudget(sizes, [steps] * len(sizes), [1.0] * len(sizes)),
        )
    )


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_loss_falls_at_each_scale(optimizer: str) -> None:
    states = run_transfer(make_loss(), optimizer)
    assert [state.size for state in states if state.is_last] == SIZES
    assert [state.total_steps for state in states] == list(range(1, 25)) and [
        state.step for state in states[-8:]
    ] == list(range(1, 9))
    for scale in (1, 2, 3):
        losses = [float(state.terms[0]) for state in states if state.scale == scale]
        assert losses[-1] < losses[0]
    initial_terms = compute_loss_terms(make_loss(), make_loss().content(SIZES[-1]))
    assert float(states[-1].terms[0]) < 0.8 * float(initial_terms[0])


def test_transfer_is_deterministic() -> None:
    first, second = (run_transfer(make_loss())[-1].image for _ in range(2))
    assert torch.equal(first, second)


def test_reported_terms_are_those_of_the_image() -> None:
    loss = make_loss()
    state = run_transfer(loss)[-1]
    torch.testing.assert_close(compute_loss_terms(loss, state.image), state.terms)
    torch.testing.assert_close(loss.evaluate_terms(state.objective, state.image), state.terms)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_scale_starts_from_the_previous_result(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Tensor] = []
    optimizer_class = IMAGE_OPTIMIZERS[optimizer]
    rescale = optimizer_class.rescale

    def record(self, loss, x, margin):  # type: ignore[no-untyped-def]
        starts.append(x)
        return rescale(self, loss, x, margin)

    monkeypatch.setattr(optimizer_class, "rescale", record)
    states = [state for state in run_transfer(make_loss(), optimizer) if state.is_last]
    assert len(starts) == 2
    for previous, start, size in zip(states, starts, SIZES[1:], strict=False):
        torch.testing.assert_close(start, resize_bicubic(previous.image, size))


def test_nonfinite_initial_loss_is_refused() -> None:
    loss = make_loss(content=lambda size: torch.full((1, 3, *size), float("nan")))
    with pytest.raises(CnnlabError, match="the loss is not finite before the first step at 20x16"):
        run_transfer(loss)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_margin_is_cropped_at_every_scale(optimizer: str) -> None:
    states = run_transfer(make_loss(margin=6), optimizer, steps=3)
    assert [state.size for state in states if state.is_last] == SIZES
    assert [tuple(state.image.shape[2:]) for state in states if state.is_last] == SIZES
    plain = run_transfer(make_loss(), optimizer, steps=3)
    assert not torch.allclose(states[-1].image, plain[-1].image)
