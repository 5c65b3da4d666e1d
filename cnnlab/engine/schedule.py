"""Learning rates by name: step -> factor on the optimizer's `lr`. Pure, so that a run resumes anywhere.

A builder takes the run's total steps and the steps of an epoch, and keywords from configs/schedule.
"""

import math
from bisect import bisect_right
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(total: int, epoch: int) -> Schedule:
    """1 at every step."""
    return lambda step: 1.0


def step_decay(total: int, epoch: int, *, every_epochs: float, factor: float) -> Schedule:
    """Multiplied by `factor` after every `every_epochs` epochs."""
    if every_epochs <= 0:
        raise ValueError(f"every_epochs must be above 0, not {every_epochs}")
    every = max(1, round(every_epochs * epoch))
    return lambda step: factor ** (step // every)


def cosine(total: int, epoch: int, *, warmup_epochs: float, final: float) -> Schedule:
    """Up in a straight line over `warmup_epochs`, then down half a cosine to `final` at the run's end
    (Loshchilov & Hutter 2017, one cycle)."""
    warmup = round(warmup_epochs * epoch)
    if warmup >= total:
        raise ValueError(
            f"warmup_epochs={warmup_epochs} leaves nothing of the run's {total / epoch:g} epochs"
        )

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        share = min(1.0, (step - warmup) / (total - warmup))
        return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2

    return factor


def one_cycle(total: int, epoch: int, *, peak: float, start: float, final: float) -> Schedule:
    """From `start` up a half cosine to 1 at the share `peak` of the run, then down another to `final`
    (Smith & Topin 2018). torch's OneCycleLR with start = 1 / div_factor and final = start / final_div_factor."""
    if not 0 < peak < 1:
        raise ValueError(f"peak must be between 0 and 1, not {peak}")
    if peak * total <= 1:
        raise ValueError(
            f"{total} steps are too few for a peak at {peak} of them; more epochs, a smaller batch_size, or "
            f"schedule=constant"
        )
    top, last = peak * total - 1, total - 1

    def factor(step: int) -> float:
        low, share = (start, step / top) if step <= top else (final, (last - step) / (last - top))
        return low + (1 - low) * (1 - math.cos(math.pi * max(0.0, share))) / 2

    return factor


def piecewise_linear(
    total: int, epoch: int, *, epochs: list[float], factors: list[float]
) -> Schedule:
    """Straight lines through the points (epochs[i], factors[i]); flat before the first and after the last."""
    if len(epochs) != len(factors) or not epochs or sorted(set(epochs)) != epochs:
        raise ValueError(
            f"epochs must rise and match factors one to one, not {epochs} and {factors}"
        )
    at = [e * epoch for e in epochs]

    def factor(step: int) -> float:
        i = bisect_right(at, step)
        if i in (0, len(at)):
            return factors[0 if i == 0 else -1]
        share = (step - at[i - 1]) / (at[i] - at[i - 1])
        return factors[i - 1] + share * (factors[i] - factors[i - 1])

    return factor


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "piecewise_linear": piecewise_linear,
    "step": step_decay,
}
