import pytest

from cnnlab.style import time_budget
from cnnlab.style.time_budget import TransferBudget


class Clock:
    """A clock set by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: float) -> None:
        self.now = now
        monkeypatch.setattr(time_budget, "monotonic", lambda: self.now)


def run(budget: TransferBudget, clock: Clock, costs: list[float]) -> list[float]:
    """Run scales with steps of these seconds, two for the targets; return their end times."""
    ends = []
    for scale, cost in enumerate(costs, 1):
        clock.now += 2 * cost
        step = 0
        while True:
            step, clock.now = step + 1, clock.now + cost
            if budget.should_stop(scale, step):
                break
        ends.append(clock.now)
        if not budget.can_start(scale + 1):
            break
    return ends


def test_steps_end_scales_without_a_time_limit() -> None:
    budget = TransferBudget([(10, 10), (20, 20)], [3, 2], [1.0] * 2)
    assert [budget.should_stop(1, n) for n in (1, 2, 3)] == [
        False,
        False,
        True,
    ] and budget.can_start(2)
    assert [budget.should_stop(2, n) for n in (1, 2)] == [False, True]
    assert budget.steps_taken == [3, 2]


def test_scales_share_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """44 s from the start of the command: 4 s have passed, 0.5 s are reserved to save."""
    clock = Clock(monkeypatch, 104.0)
    budget = TransferBudget(
        [(10, 10), (20, 20), (40, 40)],
        [1000] * 3,
        [1.0] * 3,
        44.0,
        100.0,
        0.5,
        optimization_started_at=104.0,
    )
    ends = run(budget, clock, [0.1, 0.4, 1.6])
    assert ends[0] == pytest.approx(104 + 39.4 / 4, abs=0.2) and ends[1] == pytest.approx(
        104 + 39.3 / 2, abs=0.8
    )
    assert 144 - 0.5 - 2 * 1.6 - 0.8 <= ends[2] <= 144 - 0.5 - 1.6  # a step to evaluate, and saving
    assert all(n > 10 for n in budget.steps_taken[:2])


def test_scale_without_enough_time_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget(
        [(10, 10), (100, 100)], [1000] * 2, [1.0] * 2, 10.0, 0.0, 0.0, optimization_started_at=0.0
    )
    ends = run(budget, clock, [0.1, 10.0])
    assert len(ends) == 1 == len(budget.steps_taken) and ends[0] <= 10


def test_can_start_includes_the_style_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """7 s and steps of 1 s: enough with one style image, not with ten times its pixels."""
    for ratio, is_enough in ((1.0, True), (10.0, False)):
        Clock(monkeypatch, 0.0)
        budget = TransferBudget(
            [(10, 10), (20, 20)], [1] * 2, [ratio] * 2, 7.0, 0.0, 0.0, optimization_started_at=0.0
        )
        budget.step_end_times = [-0.25, 0.0]
        assert budget.can_start(2) == is_enough


def test_last_scale_uses_the_rest_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget(
        [(10, 10), (20, 20)], [5, 5], [1.0] * 2, 100.0, 0.0, 0.0, optimization_started_at=0.0
    )
    assert run(budget, clock, [0.5, 2.0])[0] == pytest.approx(3.5)
    assert budget.steps_taken[0] == 5 and budget.steps_taken[1] > 40 and clock.now <= 100


def test_one_slow_step_does_not_end_a_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget([(10, 10)], [1000], [1.0], 100.0, 0.0, 0.0, optimization_started_at=0.0)
    for step in range(1, 40):
        clock.now += 20.0 if step == 20 else 1.0
        assert not budget.should_stop(1, step)
    assert budget.median_step_s == 1 and budget.remaining_s(1, 39) == pytest.approx(100 - clock.now)


def test_remaining_time_is_proportional_to_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget([(10, 10), (20, 20)], [4, 3], [1.0] * 2, optimization_started_at=0.0)
    for step in (1, 2):
        clock.now += 1.0
        budget.should_stop(1, step)
    assert budget.remaining_s(1, 2) == pytest.approx(2 * 1 + 3 * 4)
