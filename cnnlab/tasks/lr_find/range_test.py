"""The learning rate range test: the loss while the learning rate rises from step to step."""

from collections.abc import Sequence

import numpy as np

from cnnlab.core.progress import Progress
from cnnlab.engine.meter import NonFiniteError
from cnnlab.tasks.train.trainer import Trainer

DIVERGENCE_FACTOR = 4.0  # the loss has diverged when it is so many times its minimum
SUGGESTION_DIVISOR = 10  # the learning rate at the lowest loss, divided by this, is suggested


def run_range_test(trainer: Trainer) -> tuple[list[float], list[float]]:
    """Return the learning rate and the loss of each step, until the loss diverges."""
    learning_rates, losses, progress = list[float](), list[float](), Progress()
    try:
        for report in trainer.fit(0):
            learning_rates.append(report.lr)
            losses.append(report.loss)
            position = f"step {report.step}/{trainer.total_steps}"
            progress.show(f"{position} lr {report.lr:.2e} loss {report.loss:.4f}", keep=False)
            if report.loss > DIVERGENCE_FACTOR * min(losses):
                break
    except NonFiniteError:
        pass
    finally:
        progress.end()
    return learning_rates, losses


def smooth_losses(losses: Sequence[float], weight: float) -> list[float]:
    """Return the exponential moving average with bias correction (Kingma & Ba 2015, section 3)."""
    smoothed, mean = [], 0.0
    for step, loss in enumerate(losses, 1):
        mean = weight * mean + (1 - weight) * loss
        smoothed.append(mean / (1 - weight**step))
    return smoothed


def suggest_lr(learning_rates: Sequence[float], losses: Sequence[float]) -> float:
    """Return a tenth of the learning rate at which the smoothed loss is lowest.

    At the minimum the loss is about to rise, and training is no longer stable (the range test of
    Smith 2017, section 3.3). docs/measured.md compares the suggestion with whole trainings.
    """
    return learning_rates[int(np.argmin(losses))] / SUGGESTION_DIVISOR
