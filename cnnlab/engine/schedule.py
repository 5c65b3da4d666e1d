"""Learning rate schedules by name: step -> factor on the optimizer's `lr`.

Schedules are pure functions, so that a run resumes at any step. A builder takes the run's total
steps, the steps of an epoch, and keywords from configs/schedule.
"""

import math
from bisect import bisect_right
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(total_steps: int, epoch_steps: int) -> Schedule:
    """Return the schedule that is 1 at every step."""
    return lambda step: 1.0


def step_decay(
    total_steps: int, epoch_steps: int, *, every_epochs: float, factor: float
) -> Schedule:
    """Return a schedule that is multiplied by `factor` after every `every_epochs` epochs."""
    if every_epochs <= 0:
        raise ValueError(f"every_epochs must be above 0, not {every_epochs}")
    interval = max(1, round(every_epochs * epoch_steps))
    return lambda step: factor ** (step // interval)


def linear(total_steps: int, epoch_steps: int, *, warmup_epochs: float, final: float) -> Schedule:
    """Return linear warm-up over `warmup_epochs`, then a straight line down to `final`.

    Raises ValueError if the warm-up is not shorter than the run.
    """
    warmup_steps = compute_warmup_steps(warmup_epochs, total_steps, epoch_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        share = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
        return final + (1 - final) * (1 - share)

    return factor


def compute_warmup_steps(warmup_epochs: float, total_steps: int, epoch_steps: int) -> int:
    """Return the steps of a warm-up. Raises ValueError if it is not shorter than the run."""
    warmup_steps = round(warmup_epochs * epoch_steps)
    if warmup_steps >= total_steps:
        epochs = total_steps / epoch_steps
        raise ValueError(
            f"warmup_epochs={warmup_epochs} must be less than the run's {epochs:g} epochs"
        )
    return warmup_steps


def cosine(total_steps: int, epoch_steps: int, *, warmup_epochs: float, final: float) -> Schedule:
    """Return linear warm-up over `warmup_epochs`, then half a cosine down to `final`.

    Loshchilov & Hutter 2017, one cycle. Raises ValueError if the warm-up is not shorter than the
    run.
    """
    warmup_steps = compute_warmup_steps(warmup_epochs, total_steps, epoch_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        share = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
        return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2

    return factor


def one_cycle(
    total_steps: int, epoch_steps: int, *, peak: float, start: float, final: float
) -> Schedule:
    """Return half a cosine from `start` up to 1 at the share `peak` of the run, then to `final`.

    Smith & Topin 2018; torch's OneCycleLR with start = 1 / div_factor and
    final = start / final_div_factor. Raises ValueError if the run is too short for a peak.
    """
    if not 0 < peak < 1:
        raise ValueError(f"peak must be between 0 and 1, not {peak}")
    if peak * total_steps <= 1:
        raise ValueError(
            f"too few steps for peak={peak}: {total_steps}; "
            f"use more epochs, a smaller batch_size, or schedule=constant"
        )
    top, last = peak * total_steps - 1, total_steps - 1

    def factor(step: int) -> float:
        low, share = (start, step / top) if step <= top else (final, (last - step) / (last - top))
        return low + (1 - low) * (1 - math.cos(math.pi * max(0.0, share))) / 2

    return factor


def piecewise_linear(
    total_steps: int, epoch_steps: int, *, epochs: list[float], factors: list[float]
) -> Schedule:
    """Return linear interpolation through (epochs[i], factors[i]), constant outside.

    Raises ValueError unless `epochs` increase and match `factors` one to one.
    """
    if len(epochs) != len(factors) or not epochs or sorted(set(epochs)) != epochs:
        raise ValueError(
            f"epochs must increase and match factors one to one, not {epochs} and {factors}"
        )
    steps = [e * epoch_steps for e in epochs]

    def factor(step: int) -> float:
        i = bisect_right(steps, step)
        if i in (0, len(steps)):
            return factors[0 if i == 0 else -1]
        share = (step - steps[i - 1]) / (steps[i] - steps[i - 1])
        return factors[i - 1] + share * (factors[i] - factors[i - 1])

    return factor


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "one_cycle": one_cycle,
    "piecewise_linear": piecewise_linear,
    "step": step_decay,
}
