import pytest

from cnnlab.style import budget
from cnnlab.style.budget import TransferBudget
from cnnlab.style.scales import fit_size, fit_style_size, pyramid_sizes


def test_nothing_is_enlarged() -> None:
    assert fit_size((768, 1024), 512) == (384, 512) and fit_size((300, 200), 512) == (300, 200)
    assert fit_size((10, 5000), 500) == (1, 500)


def test_sizes_grow_by_the_square_root_of_two() -> None:
    assert pyramid_sizes((384, 512), 160) == [(136, 181), (192, 256), (272, 362), (384, 512)]
    assert pyramid_sizes((384, 512), 600) == [(384, 512)] == pyramid_sizes((384, 512), 512)
    for small, large in zip(
        pyramid_sizes((1000, 700), 100), pyramid_sizes((1000, 700), 100)[1:], strict=False
    ):
        assert large[0] * large[1] / (small[0] * small[1]) == pytest.approx(2, rel=0.02)


def test_a_painting_has_the_pictures_area_but_is_not_enlarged() -> None:
    height, width = fit_style_size((1528, 1200), (384, 512), 1.0)
    assert height * width == pytest.approx(384 * 512, rel=0.01) and height / width == pytest.approx(
        1528 / 1200, rel=0.01
    )
    assert fit_style_size((1528, 1200), (384, 512), 0.5) == pytest.approx(
        (height / 2, width / 2), abs=1
    )
    assert fit_style_size((100, 80), (384, 512), 1.0) == (100, 80)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: float) -> None:
        self.now = now
        monkeypatch.setattr(budget, "monotonic", lambda: self.now)


def run(budget: TransferBudget, clock: Clock, costs: list[float]) -> list[float]:
    """Steps of so many seconds at each scale, a loss taking two to set up -> when each scale ended."""
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


def test_without_a_time_steps_decide() -> None:
    budget = TransferBudget([(10, 10), (20, 20)], [3, 2], [1.0] * 2)
    assert [budget.should_stop(1, n) for n in (1, 2, 3)] == [
        False,
        False,
        True,
    ] and budget.can_start(2)
    assert [budget.should_stop(2, n) for n in (1, 2)] == [False, True]
    assert budget.steps_taken == [3, 2]


def test_a_time_is_kept_and_shared_out_from_when_painting_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 44 s from the command's beginning 4 have gone by before, and half a second is kept to save."""
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
    assert (
        144 - 0.5 - 1.5 * 1.6 - 0.8 <= ends[2] <= 144 - 0.5 - 0.8
    )  # room for a look at the picture, and to save
    assert all(n > 10 for n in budget.steps_taken[:2])


def test_a_scale_that_there_is_no_time_for_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget(
        [(10, 10), (100, 100)], [1000] * 2, [1.0] * 2, 10.0, 0.0, 0.0, optimization_started_at=0.0
    )
    ends = run(budget, clock, [0.1, 10.0])
    assert len(ends) == 1 == len(budget.steps_taken) and ends[0] <= 10


def test_paintings_are_looked_at_before_a_scale_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 1 s at the next scale, and 7 s: enough for one beside one painting, not beside ten times its pixels."""
    for beside, holds in ((1.0, True), (10.0, False)):
        Clock(monkeypatch, 0.0)
        budget = TransferBudget(
            [(10, 10), (20, 20)], [1] * 2, [beside] * 2, 7.0, 0.0, 0.0, optimization_started_at=0.0
        )
        budget.step_end_times = [-0.25, 0.0]
        assert budget.can_start(2) == holds


def test_with_much_time_coarse_scales_are_content_with_their_steps_and_the_last_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget(
        [(10, 10), (20, 20)], [5, 5], [1.0] * 2, 100.0, 0.0, 0.0, optimization_started_at=0.0
    )
    assert run(budget, clock, [0.5, 2.0])[0] == pytest.approx(3.5)
    assert budget.steps_taken[0] == 5 and budget.steps_taken[1] > 40 and clock.now <= 100


def test_one_long_search_along_a_line_does_not_end_a_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget([(10, 10)], [1000], [1.0], 100.0, 0.0, 0.0, optimization_started_at=0.0)
    for step in range(1, 40):
        clock.now += 20.0 if step == 20 else 1.0
        assert not budget.should_stop(1, step)
    assert budget.median_step_s == 1 and budget.remaining_s(1, 39) == pytest.approx(100 - clock.now)


def test_what_is_left_goes_by_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.0)
    budget = TransferBudget([(10, 10), (20, 20)], [4, 3], [1.0] * 2, optimization_started_at=0.0)
    for step in (1, 2):
        clock.now += 1.0
        budget.should_stop(1, step)
    assert budget.remaining_s(1, 2) == pytest.approx(2 * 1 + 3 * 4)
