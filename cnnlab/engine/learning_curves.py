"""Learning curves: when a metric crosses a threshold, and the mean curve of several runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class CurvePoint:
    """A metric's value after a step, and the seconds of training until then."""

    step: int
    seconds: float
    value: float


@dataclass(frozen=True)
class MetricCurve:
    """A metric's values in the order of the steps, and the seconds of training until each."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def from_points(cls, points: Sequence[CurvePoint]) -> "MetricCurve":
        """Return the curve through `points`."""
        return cls(
            tuple(p.step for p in points),
            tuple(p.seconds for p in points),
            tuple(p.value for p in points),
        )


def average_windows(points: Sequence[CurvePoint], steps: int) -> list[CurvePoint]:
    """Average points until each window spans at least `steps` steps.

    A point's value is the mean over the steps since the point before. An incomplete last window is
    dropped unless it is the only one.
    """
    joined: list[CurvePoint] = []
    begin = before = 0
    total = 0.0
    for point in points:
        total += point.value * (point.step - before)
        before = point.step
        if point.step - begin >= steps:
            joined.append(CurvePoint(point.step, point.seconds, total / (point.step - begin)))
            begin, total = point.step, 0.0
    return joined or list(points[-1:])


@dataclass(frozen=True)
class ThresholdCrossing:
    """The step and the seconds of training at which a curve reached a threshold."""

    step: int
    seconds: float


def find_crossing(
    curve: MetricCurve, threshold: float, consecutive: int
) -> ThresholdCrossing | None:
    """Return the first of `consecutive` values at or above `threshold`, or None."""
    count = 0
    for i, value in enumerate(curve.values):
        count = count + 1 if value >= threshold else 0
        if count == consecutive:
            first = i - consecutive + 1
            return ThresholdCrossing(curve.steps[first], curve.seconds[first])
    return None


@dataclass(frozen=True)
class CurveBand:
    """The mean curve of several runs at the steps that all of them have.

    `std` is the sample standard deviation (n - 1), zero for one run.
    """

    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def average_curves(curves: Sequence[MetricCurve]) -> CurveBand:
    """Return the mean curve of `curves`."""
    tables = [
        {step: pair for step, *pair in zip(c.steps, c.seconds, c.values, strict=True)}
        for c in curves
    ]
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    seconds = tuple(fmean(table[step][0] for table in tables) for step in shared)
    values = [[table[step][1] for table in tables] for step in shared]
    std = tuple(stdev(row) if len(row) > 1 else 0.0 for row in values)
    return CurveBand(tuple(shared), seconds, tuple(map(fmean, values)), std)
