"""What a metric did over a run: when it crossed a threshold, and how several runs of it lie together."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class CurvePoint:
    """A metric's value after a step, and the seconds of training by then."""

    step: int
    seconds: float
    value: float


@dataclass(frozen=True)
class MetricCurve:
    """A metric's values, in the order of the steps after which they were taken, and the seconds of training by then."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def from_points(cls, points: Sequence[CurvePoint]) -> "MetricCurve":
        return cls(
            tuple(p.step for p in points),
            tuple(p.seconds for p in points),
            tuple(p.value for p in points),
        )


def average_windows(points: Sequence[CurvePoint], steps: int) -> list[CurvePoint]:
    """Means over the steps since the point before, joined until each is of at least `steps`; what is left at the end
    is of fewer, and dropped unless there is nothing else."""
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
    """Where a curve reached a threshold: steps and seconds of training."""

    step: int
    seconds: float


def find_crossing(
    curve: MetricCurve, threshold: float, consecutive: int
) -> ThresholdCrossing | None:
    """The first of `consecutive` values in a row at or above `threshold`; None where there are none."""
    row = 0
    for at, value in enumerate(curve.values):
        row = row + 1 if value >= threshold else 0
        if row == consecutive:
            first = at - consecutive + 1
            return ThresholdCrossing(curve.steps[first], curve.seconds[first])
    return None


@dataclass(frozen=True)
class CurveBand:
    """Curves of several runs at the steps that all of them have: mean seconds, mean and standard deviation (n - 1; zero
    for one run) of the values."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def average_curves(curves: Sequence[MetricCurve]) -> CurveBand:
    """One curve of several."""
    tables = [
        {step: pair for step, *pair in zip(c.steps, c.seconds, c.values, strict=True)}
        for c in curves
    ]
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    seconds = tuple(fmean(table[step][0] for table in tables) for step in shared)
    values = [[table[step][1] for table in tables] for step in shared]
    deviation = tuple(stdev(row) if len(row) > 1 else 0.0 for row in values)
    return CurveBand(tuple(shared), seconds, tuple(map(fmean, values)), deviation)
