from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_scheduler

from cnnlab.engine.schedule import (
    SCHEDULES,
    Schedule,
    constant,
    cosine,
    linear,
    one_cycle,
    piecewise_linear,
    step_decay,
)

TOTAL, EPOCH = 60, 10


def factors(schedule: Schedule) -> list[float]:
    return [schedule(i) for i in range(TOTAL)]


def torch_factors(make: Callable[[torch.optim.Optimizer], Any]) -> list[float]:
    """The learning rates of a torch scheduler on a base of 1, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, learning_rates = make(optimizer), []
    for _ in range(TOTAL):
        learning_rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return learning_rates


def test_constant() -> None:
    assert factors(constant(TOTAL, EPOCH)) == [1.0] * TOTAL


def test_step_matches_torch() -> None:
    expected = torch_factors(lambda optimizer: torch_scheduler.StepLR(optimizer, 20, gamma=0.3))
    assert factors(step_decay(TOTAL, EPOCH, every_epochs=2, factor=0.3)) == pytest.approx(expected)


def test_cosine_matches_torch() -> None:
    expected = torch_factors(
        lambda optimizer: torch_scheduler.CosineAnnealingLR(optimizer, TOTAL, eta_min=0.1)
    )
    assert factors(cosine(TOTAL, EPOCH, warmup_epochs=0, final=0.1)) == pytest.approx(expected)


def test_linear_matches_torch() -> None:
    def sequence(optimizer: torch.optim.Optimizer) -> Any:
        up = torch_scheduler.LinearLR(optimizer, start_factor=1 / 10, total_iters=9)
        down = torch_scheduler.LinearLR(optimizer, 1, end_factor=0.1, total_iters=TOTAL - 10)
        return torch_scheduler.SequentialLR(optimizer, [up, down], [10])

    ours = factors(linear(TOTAL, EPOCH, warmup_epochs=1, final=0.1))
    assert ours == pytest.approx(torch_factors(sequence), abs=1e-9)


def test_cosine_with_warmup_matches_torch() -> None:
    def sequence(optimizer: torch.optim.Optimizer) -> Any:
        up = torch_scheduler.LinearLR(optimizer, start_factor=1 / 10, total_iters=9)
        down = torch_scheduler.CosineAnnealingLR(optimizer, TOTAL - 10)
        return torch_scheduler.SequentialLR(optimizer, [up, down], [10])

    ours = factors(cosine(TOTAL, EPOCH, warmup_epochs=1, final=0.0))
    assert ours == pytest.approx(torch_factors(sequence), abs=1e-9)


@pytest.mark.parametrize("peak", [0.3, 0.5])
def test_one_cycle_matches_torch(peak: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return torch_scheduler.OneCycleLR(
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
    assert ours == pytest.approx(torch_factors(make), abs=1e-9)


def test_one_cycle_ends_at_final() -> None:
    assert one_cycle(TOTAL, EPOCH, peak=0.3, start=0.04, final=4e-6)(TOTAL - 1) == pytest.approx(
        4e-6
    )


def test_piecewise_linear_matches_numpy() -> None:
    ours = factors(piecewise_linear(TOTAL, EPOCH, epochs=[1, 2.5, 5], factors=[0.2, 1.0, 0.0]))
    assert ours == pytest.approx(np.interp(range(TOTAL), [10, 25, 50], [0.2, 1.0, 0.0]).tolist())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: cosine(TOTAL, EPOCH, warmup_epochs=6, final=0),
            "must be less than the run's 6 epochs",
        ),
        (
            lambda: one_cycle(TOTAL, EPOCH, peak=1.0, start=0, final=0),
            "peak must be between 0 and 1",
        ),
        (
            lambda: step_decay(TOTAL, EPOCH, every_epochs=0, factor=1),
            "every_epochs must be above 0",
        ),
        (
            lambda: piecewise_linear(TOTAL, EPOCH, epochs=[2, 1], factors=[1, 1]),
            "epochs must increase",
        ),
        (
            lambda: piecewise_linear(TOTAL, EPOCH, epochs=[1], factors=[1, 1]),
            "epochs must increase",
        ),
    ],
)
def test_invalid_schedules_are_refused(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_every_schedule_is_tested() -> None:
    assert set(SCHEDULES) == {
        "constant",
        "cosine",
        "linear",
        "one_cycle",
        "piecewise_linear",
        "step",
    }
