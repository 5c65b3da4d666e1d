import statistics

import pytest

from cnnlab.engine.learning_curves import (
    CurvePoint,
    MetricCurve,
    ThresholdCrossing,
    average_curves,
    average_windows,
    find_crossing,
)


def curve(*values: float, every: int = 10) -> MetricCurve:
    steps = tuple(every * n for n in range(1, len(values) + 1))
    return MetricCurve(steps, tuple(step / 5 for step in steps), values)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ((0.1, 0.9, 0.9, 0.9), 20),
        ((0.9, 0.8, 0.9, 0.9, 0.9), 30),
        ((0.9, 0.9, 0.8, 0.9, 0.9), None),
        ((0.9, 0.9, 0.9), 10),
        ((0.85, 0.85, 0.85), 10),
        ((), None),
    ],
)
def test_the_first_of_three_in_a_row_at_or_above_counts(
    values: tuple[float, ...], step: int | None
) -> None:
    assert find_crossing(curve(*values), 0.85, 3) == (
        ThresholdCrossing(step, step / 5) if step else None
    )


def test_one_in_a_row_is_the_first_ever() -> None:
    assert find_crossing(curve(0.1, 0.9, 0.1), 0.9, 1) == ThresholdCrossing(20, 4.0)


def test_a_band_is_the_mean_and_deviation_at_the_steps_that_all_have() -> None:
    one, other = curve(1.0, 2.0, 3.0), curve(3.0, 2.5, 7.0, 9.0)
    found = average_curves([one, other])
    assert found.steps == (10, 20, 30) and found.seconds == (2.0, 4.0, 6.0)
    assert found.mean == (2.0, 2.25, 5.0)
    assert found.std == pytest.approx(
        [statistics.stdev(pair) for pair in ((1, 3), (2, 2.5), (3, 7))]
    )
    assert average_curves([one]).std == (0.0, 0.0, 0.0)


def test_windows_that_an_epochs_end_cut_short_are_joined_and_weighted() -> None:
    """As reported every 3 steps in epochs of 7: windows of 3, 3, 1, then of 2, 3, 2 steps."""
    values = {3: 1.0, 6: 2.0, 7: 8.0, 9: 5.0, 12: 3.0, 14: 4.0}
    found = average_windows(
        [CurvePoint(step, step / 2, value) for step, value in values.items()], 3
    )
    assert [(p.step, p.seconds, p.value) for p in found] == [
        (3, 1.5, 1.0),
        (6, 3.0, 2.0),
        (9, 4.5, 6.0),
        (12, 6.0, 3.0),
    ]
    assert average_windows([CurvePoint(2, 1.0, 7.0)], 3) == [CurvePoint(2, 1.0, 7.0)]
