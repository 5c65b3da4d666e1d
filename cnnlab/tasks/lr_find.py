"""`cnnlab lr-find`: the loss while the learning rate rises from step to step, and a rate that it suggests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cnnlab.core.device import describe, threads
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import new_folder, outputs_folder
from cnnlab.core.progress import Progress
from cnnlab.core.provenance import environment
from cnnlab.core.run import Run
from cnnlab.core.schema import Config, call
from cnnlab.engine.meter import NotFinite
from cnnlab.tasks.train.settings import Settings
from cnnlab.tasks.train.trainer import Training, assemble
from cnnlab.tasks.train.warm_start import initial_weights
from cnnlab.viz.curves import lr_figure

WORSE = 4.0  # times the best loss: the rate is too high by then
BELOW = 10  # times smaller than the rate of the lowest loss is what is suggested
FEWEST = 10  # steps that a curve can be judged by


@dataclass(frozen=True, kw_only=True)
class Range:
    """The keys that configs/lr_find.yaml has beside train.yaml's."""

    lowest: float
    highest: float
    steps: int
    smoothing: float

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < math.inf:
            raise ValueError(f"lowest must be above 0 and below highest, not {self.lowest} and {self.highest}")
        if self.steps < 2 * FEWEST:
            raise ValueError(f"steps must be at least {2 * FEWEST}, not {self.steps}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1, not {self.smoothing}")

    def rate(self, step: int) -> float:
        """Of a step, from 0, as a multiple of the lowest."""
        return (self.highest / self.lowest) ** (step / (self.steps - 1))


def run(config: Config, overrides: list[str]) -> float:
    """Go through the rates, print the suggestion, and write outputs/lr-find/<date>_<time>_<name>/; returns it."""
    own = {key: config.pop(key) for key in Range.__annotations__ if key in config}
    r, s = call(Range, own, ""), call(Settings, config, "")
    if s.resume is not None:
        raise UsageError("lr-find begins anew: no resume")
    if any(word.startswith("optim.lr=") for word in overrides):
        raise UsageError("lr-find goes through rates itself, from lowest to highest: no optim.lr")
    s = replace(s, optim=s.optim | {"lr": r.lowest}, schedule={"name": "constant"}, log_every=1, ema_decay=None)
    with threads(s.threads):
        training = assemble(replace(s, epochs=r.steps))
        if s.init is not None:
            initial_weights(training)
        training.steps, training.schedule = r.steps, r.rate
        print(f"cnnlab lr-find: {s.model['name']} on {s.dataset['name']}, device {describe(training.device)}")
        rates, losses = gone_through(training)
    smooth = smoothed(losses, r.smoothing)
    if len(rates) < FEWEST:
        raise CnnlabError(f"the loss was out of bounds after {len(rates)} steps; a smaller lowest may help")
    found = suggestion(rates, smooth)
    log = Run(new_folder(outputs_folder(s.outputs) / "lr-find", s.name))
    for step, values in enumerate(zip(rates, losses, smooth, strict=True)):
        log.scalars("lr_find", dict(zip(("learning_rate", "loss", "smoothed_loss"), values, strict=True)), step)
    about: dict[str, Any] = {"suggestion": found, "rates": rates, "losses": losses, "smoothed": smooth}
    title = f"{s.name}'s loss is lowest at a rate of {BELOW * found:.2g}; a tenth of it is suggested"
    figure = lr_figure(rates, losses, smooth, found, title)
    log.figure("lr_find", figure, 0, about | {"environment": environment(training.device)})
    log.close()
    print(f"{len(rates)} steps, up to a rate of {rates[-1]:.3g}; the smoothed loss was lowest at {BELOW * found:.3g}")
    if len(rates) == r.steps and int(np.argmin(smooth)) > len(smooth) - FEWEST:
        print("and was still falling there: a higher `highest` would say more")
    print(f"suggested: optim.lr={found:.2g}\n\npicture: {log.figures / 'lr_find.png'}", flush=True)
    return found


def gone_through(training: Training) -> tuple[list[float], list[float]]:
    """The learning rate and the loss of each step, until the loss is out of bounds."""
    rates, losses, progress = list[float](), list[float](), Progress()
    try:
        for report in training.reports(0):
            rates.append(report.lr)
            losses.append(report.loss)
            progress.show(f"step {report.step}/{training.steps} lr {report.lr:.2e} loss {report.loss:.4f}", keep=False)
            if report.loss > WORSE * min(losses):
                break
    except NotFinite:
        pass
    finally:
        progress.end()
    return rates, losses


def smoothed(losses: Sequence[float], weight: float) -> list[float]:
    """An exponential mean of the past, without the bias towards its beginning (Kingma & Ba 2015, section 3)."""
    found, mean = [], 0.0
    for step, loss in enumerate(losses, 1):
        mean = weight * mean + (1 - weight) * loss
        found.append(mean / (1 - weight**step))
    return found


def suggestion(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the rate at which the smoothed loss is lowest: there it is about to rise, and a training is no
    longer stable (the range test of Smith 2017, section 3.3). docs/measured.md holds it against whole trainings."""
    return rates[int(np.argmin(losses))] / BELOW
