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


def make_budget(
    sides: list[int], limit: float, *, steps: int = 50, output: int = 0
) -> TransferBudget:
    """Return a budget of square images from the time 0; `output`: its scale, the last if 0."""
    count = len(sides)
    sizes, ratios = [(side, side) for side in sides], [1.0] * count
    return TransferBudget(sizes, [steps] * count, ratios, limit, 0.0, output_scale=output or count)


def test_scales_share_the_time_limit_by_equal_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = make_budget([10, 20, 40], 60.0)
    ends = run(budget, clock, [0.1, 0.4, 1.6])
    assert len(ends) == 3 and 60 - 1.6 - 1.7 <= ends[-1] <= 60 - 1.6  # a step to evaluate
    first, second, third = budget.steps_taken
    assert first == pytest.approx(third, abs=3) and second == pytest.approx(third, abs=3)


def test_larger_scales_are_preferred_to_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output image is at the second of four scales; steps of 0.1, 0.4, 1.6 and 6.4 s."""
    scales = {}
    for limit in (8, 60, 100, 200, 400):
        clock = Clock(monkeypatch, 0.0)
        budget = make_budget([10, 20, 40, 80], limit, output=2)
        ends = run(budget, clock, [0.1, 0.4, 1.6, 6.4])
        assert ends[-1] <= limit
        scales[limit] = len(budget.steps_taken)
        assert all(steps >= 15 for steps in budget.steps_taken[2:])
    assert scales == {8: 2, 60: 3, 100: 3, 200: 4, 400: 4}


def test_more_time_than_helps_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = make_budget([10, 20], 10_000.0)
    run(budget, clock, [0.1, 0.4])
    assert budget.steps_taken == [100, 100] and clock.now < 100


def test_scale_without_enough_time_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = make_budget([10, 100], 10.0, steps=1000)
    ends = run(budget, clock, [0.1, 10.0])
    assert len(ends) == 1 == len(budget.steps_taken) and ends[0] <= 10


def test_can_start_includes_the_style_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 s and steps of 1 s: enough with one style image, not with sixty times its pixels."""
    for ratio, is_enough in ((1.0, True), (60.0, False)):
        Clock(monkeypatch, 0.0)
        budget = make_budget([10, 20], 30.0)
        budget.style_pixel_ratios = [ratio] * 2
        budget.step_end_times = [-0.25, 0.0]
        assert budget.can_start(2) == is_enough


def test_one_slow_step_does_not_end_a_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = make_budget([10], 100.0, steps=1000)
    for step in range(1, 40):
        clock.now += 20.0 if step == 20 else 1.0
        assert not budget.should_stop(1, step)
    assert budget.median_step_s == 1 and budget.remaining_s(1, 39) == pytest.approx(100 - clock.now)


def test_remaining_time_is_proportional_to_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget([(10, 10), (20, 20)], [4, 3], [1.0] * 2)
    for step in (1, 2):
        clock.now += 1.0
        budget.should_stop(1, step)
    assert budget.remaining_s(1, 2) == pytest.approx(2 * 1 + 3 * 4)
