from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torchs

from cnnlab.engine.schedule import (
    SCHEDULES,
    Schedule,
    constant,
    cosine,
    one_cycle,
    piecewise_linear,
    step_decay,
)

TOTAL, EPOCH = 60, 10


def factors(schedule: Schedule) -> list[float]:
    return [schedule(i) for i in range(TOTAL)]


def theirs(make: Callable[[torch.optim.Optimizer], Any]) -> list[float]:
    """The learning rates of a torch scheduler on a base of 1, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(TOTAL):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_constant() -> None:
    assert factors(constant(TOTAL, EPOCH)) == [1.0] * TOTAL


def test_step_is_torchs() -> None:
    expected = theirs(lambda optimizer: torchs.StepLR(optimizer, 20, gamma=0.3))
    assert factors(step_decay(TOTAL, EPOCH, every_epochs=2, factor=0.3)) == pytest.approx(expected)


def test_cosine_is_torchs() -> None:
    expected = theirs(lambda optimizer: torchs.CosineAnnealingLR(optimizer, TOTAL, eta_min=0.1))
    assert factors(cosine(TOTAL, EPOCH, warmup_epochs=0, final=0.1)) == pytest.approx(expected)


def test_cosine_with_warm_up_is_torchs_two_in_sequence() -> None:
    def sequence(optimizer: torch.optim.Optimizer) -> Any:
        up = torchs.LinearLR(optimizer, start_factor=1 / 10, total_iters=9)
        down = torchs.CosineAnnealingLR(optimizer, TOTAL - 10)
        return torchs.SequentialLR(optimizer, [up, down], [10])

    ours = factors(cosine(TOTAL, EPOCH, warmup_epochs=1, final=0.0))
    assert ours == pytest.approx(theirs(sequence), abs=1e-9)


@pytest.mark.parametrize("peak", [0.3, 0.5])
def test_one_cycle_is_torchs(peak: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return torchs.OneCycleLR(
            optimizer,
            1.0,
            total_steps=TOTAL + 1,
            pct_start=peak,
            div_factor=25,
            final_div_factor=1e4,
            cycle_momentum=False,
        )

    # torch's last step comes after the last update; the run's own last step is the one before.
    ours = [
        one_cycle(TOTAL + 1, EPOCH, peak=peak, start=1 / 25, final=1 / 25e4)(i)
        for i in range(TOTAL)
    ]
    assert ours == pytest.approx(theirs(make), abs=1e-9)


def test_one_cycle_ends_where_it_says() -> None:
    assert one_cycle(TOTAL, EPOCH, peak=0.3, start=0.04, final=4e-6)(TOTAL - 1) == pytest.approx(
        4e-6
    )


def test_piecewise_linear_is_numpys_interpolation() -> None:
    ours = factors(piecewise_linear(TOTAL, EPOCH, epochs=[1, 2.5, 5], factors=[0.2, 1.0, 0.0]))
    assert ours == pytest.approx(np.interp(range(TOTAL), [10, 25, 50], [0.2, 1.0, 0.0]).tolist())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: cosine(TOTAL, EPOCH, warmup_epochs=6, final=0),
            "leaves nothing of the run's 6 epochs",
        ),
        (
            lambda: one_cycle(TOTAL, EPOCH, peak=1.0, start=0, final=0),
            "peak must be between 0 and 1",
        ),
        (
            lambda: step_decay(TOTAL, EPOCH, every_epochs=0, factor=1),
            "every_epochs must be above 0",
        ),
        (lambda: piecewise_linear(TOTAL, EPOCH, epochs=[2, 1], factors=[1, 1]), "epochs must rise"),
        (lambda: piecewise_linear(TOTAL, EPOCH, epochs=[1], factors=[1, 1]), "epochs must rise"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_every_schedule_is_tried_here() -> None:
    assert set(SCHEDULES) == {"constant", "cosine", "one_cycle", "piecewise_linear", "step"}
