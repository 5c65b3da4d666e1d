"""`cnnlab lr-find`: the loss while the learning rate rises from step to step, and a rate that it suggests."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnnlab.core.device import describe_device, use_threads
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import make_run_folder, resolve_outputs_folder
from cnnlab.core.progress import Progress
from cnnlab.core.provenance import collect_environment
from cnnlab.core.run import Run
from cnnlab.core.schema import Config, call_checked
from cnnlab.engine.meter import NonFiniteError
from cnnlab.tasks.lr_find.settings import MIN_CURVE_STEPS, LRFindSettings
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer, build_trainer
from cnnlab.tasks.train.warm_start import load_initial_weights
from cnnlab.viz.curves import plot_lr_range_test

DIVERGENCE_FACTOR = 4.0  # times the best loss: the rate is too high by then


SUGGESTION_DIVISOR = 10  # times smaller than the rate of the lowest loss is what is suggested


def run(config: Config, overrides: list[str]) -> float:
    """Go through the rates, print the suggestion, and write outputs/lr-find/<date>_<time>_<name>/; returns it."""
    own = {key: config.pop(key) for key in LRFindSettings.__annotations__ if key in config}
    r, s = call_checked(LRFindSettings, own, ""), call_checked(TrainSettings, config, "")
    if s.resume is not None:
        raise UsageError("lr-find begins anew: no resume")
    if any(word.startswith("optim.lr=") for word in overrides):
        raise UsageError("lr-find goes through rates itself, from lowest to highest: no optim.lr")
    s = replace(
        s,
        optim=s.optim | {"lr": r.min_lr},
        schedule={"name": "constant"},
        log_every=1,
        ema_decay=None,
    )
    with use_threads(s.threads):
        training = build_trainer(replace(s, epochs=r.steps))
        if s.init is not None:
            load_initial_weights(training)
        training.total_steps, training.schedule = r.steps, r.lr_multiplier
        print(
            f"cnnlab lr-find: {s.model['name']} on {s.dataset['name']}, device {describe_device(training.device)}"
        )
        rates, losses = run_range_test(training)
    smooth = smooth_losses(losses, r.smoothing)
    if len(rates) < MIN_CURVE_STEPS:
        raise CnnlabError(
            f"the loss was out of bounds after {len(rates)} steps; a smaller lowest may help"
        )
    found = suggest_lr(rates, smooth)
    log = Run(make_run_folder(resolve_outputs_folder(s.outputs) / "lr-find", s.name))
    for step, values in enumerate(zip(rates, losses, smooth, strict=True)):
        log.log_scalars(
            "lr_find",
            dict(zip(("learning_rate", "loss", "smoothed_loss"), values, strict=True)),
            step,
        )
    about: dict[str, Any] = {
        "suggestion": found,
        "rates": rates,
        "losses": losses,
        "smoothed": smooth,
    }
    title = f"{s.name}'s loss is lowest at a rate of {SUGGESTION_DIVISOR * found:.2g}; a tenth of it is suggested"
    figure = plot_lr_range_test(rates, losses, smooth, found, title)
    log.save_figure(
        "lr_find", figure, 0, about | {"environment": collect_environment(training.device)}
    )
    log.close()
    print(
        f"{len(rates)} steps, up to a rate of {rates[-1]:.3g}; the smoothed loss was lowest at {SUGGESTION_DIVISOR * found:.3g}"
    )
    if len(rates) == r.steps and int(np.argmin(smooth)) > len(smooth) - MIN_CURVE_STEPS:
        print("and was still falling there: a higher `highest` would say more")
    print(f"suggested: optim.lr={found:.2g}\n\npicture: {log.figures / 'lr_find.png'}", flush=True)
    return found


def run_range_test(training: Trainer) -> tuple[list[float], list[float]]:
    """The learning rate and the loss of each step, until the loss is out of bounds."""
    rates, losses, progress = list[float](), list[float](), Progress()
    try:
        for report in training.fit(0):
            rates.append(report.lr)
            losses.append(report.loss)
            progress.show(
                f"step {report.step}/{training.total_steps} lr {report.lr:.2e} loss {report.loss:.4f}",
                keep=False,
            )
            if report.loss > DIVERGENCE_FACTOR * min(losses):
                break
    except NonFiniteError:
        pass
    finally:
        progress.end()
    return rates, losses


def smooth_losses(losses: Sequence[float], weight: float) -> list[float]:
    """An exponential mean of the past, without the bias towards its beginning (Kingma & Ba 2015, section 3)."""
    found, mean = [], 0.0
    for step, loss in enumerate(losses, 1):
        mean = weight * mean + (1 - weight) * loss
        found.append(mean / (1 - weight**step))
    return found


def suggest_lr(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the rate at which the smoothed loss is lowest: there it is about to rise, and a training is no
    longer stable (the range test of Smith 2017, section 3.3). docs/measured.md holds it against whole trainings."""
    return rates[int(np.argmin(losses))] / SUGGESTION_DIVISOR
