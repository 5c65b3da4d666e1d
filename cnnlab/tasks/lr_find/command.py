"""`cnnlab lr-find`: a learning rate range test, and the learning rate that it suggests."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.core.device import describe_device, use_threads
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import make_run_folder, resolve_outputs_folder
from cnnlab.core.provenance import collect_environment
from cnnlab.core.run import Run
from cnnlab.core.schema import Config
from cnnlab.tasks.lr_find.range_test import (
    SUGGESTION_DIVISOR,
    run_range_test,
    smooth_losses,
    suggest_lr,
)
from cnnlab.tasks.lr_find.settings import MIN_CURVE_STEPS, LRFindSettings
from cnnlab.tasks.train.settings import TrainSettings, split_train_settings
from cnnlab.tasks.train.trainer import Trainer, build_trainer
from cnnlab.tasks.train.warm_start import load_initial_weights
from cnnlab.viz.curves import plot_lr_range_test


def run(config: Config, overrides: list[str]) -> float:
    """Run the test, print the suggested learning rate and return it.

    Writes outputs/lr-find/<date>_<time>_<name>/. Raises CnnlabError if the loss diverges at once.
    """
    range_test, settings = parse_range_test_settings(config, overrides)
    with use_threads(settings.threads):
        trainer = build_range_trainer(range_test, settings)
        model, dataset = settings.model["name"], settings.dataset["name"]
        device = describe_device(trainer.device)
        print(f"cnnlab lr-find: {model} on {dataset}, device {device}", flush=True)
        learning_rates, losses = run_range_test(trainer)
    if len(learning_rates) < MIN_CURVE_STEPS:
        steps = len(learning_rates)
        raise CnnlabError(f"the loss diverged after {steps} steps; a smaller min_lr may help")
    smoothed = smooth_losses(losses, range_test.smoothing)
    suggested = suggest_lr(learning_rates, smoothed)
    curve = {"learning_rates": learning_rates, "losses": losses, "smoothed_losses": smoothed}
    figure = write_range_test(trainer, curve, suggested)
    best = SUGGESTION_DIVISOR * suggested
    print(f"{len(losses)} steps, learning rates up to {learning_rates[-1]:.3g}")
    print(f"the smoothed loss is lowest at a learning rate of {best:.3g}")
    ended_early = len(losses) < range_test.steps
    if not ended_early and int(np.argmin(smoothed)) > len(smoothed) - MIN_CURVE_STEPS:
        print("the loss was still falling at the last step: increase max_lr")
    print(f"suggested: optim.lr={suggested:.2g}\n\nfigure: {figure}", flush=True)
    return suggested


def parse_range_test_settings(
    config: Config, overrides: list[str]
) -> tuple[LRFindSettings, TrainSettings]:
    """Return the range of the test and the settings of the training. Raises UsageError."""
    range_test, settings = split_train_settings(config, LRFindSettings)
    if settings.resume is not None:
        raise UsageError("lr-find starts a new training: resume does not apply")
    if settings.model["name"] == "style_network":
        raise UsageError(
            "lr-find takes a classifier, not model=style_network\n"
            "train it as it is: cnnlab train model=style_network style=STYLE.jpg"
        )
    if any(word.startswith("optim.lr=") for word in overrides):
        raise UsageError("lr-find varies optim.lr itself, from min_lr to max_lr")
    return range_test, settings


def build_range_trainer(range_test: LRFindSettings, settings: TrainSettings) -> Trainer:
    """Return a trainer whose learning rate rises from min_lr to max_lr, logged at each step."""
    settings = replace(
        settings,
        optim=settings.optim | {"lr": range_test.min_lr},
        schedule={"name": "constant"},
        epochs=range_test.steps,
        log_every=1,
        ema_decay=None,
    )
    trainer = build_trainer(settings)
    if settings.init is not None:
        load_initial_weights(trainer)
    trainer.total_steps, trainer.schedule = range_test.steps, range_test.lr_multiplier
    return trainer


def write_range_test(trainer: Trainer, curve: dict[str, list[float]], suggested: float) -> Path:
    """Write the curve to TensorBoard, as a figure and as JSON; return the figure's path."""
    settings = trainer.settings
    folder = make_run_folder(resolve_outputs_folder(settings.outputs) / "lr-find", settings.name)
    run = Run(folder)
    tags = ("learning_rate", "loss", "smoothed_loss")
    for step, values in enumerate(zip(*curve.values(), strict=True)):
        run.log_scalars("lr_find", dict(zip(tags, values, strict=True)), step)
    title = (
        f"{settings.name}'s loss is lowest at a learning rate of "
        f"{SUGGESTION_DIVISOR * suggested:.2g}; a tenth of it is suggested"
    )
    figure = plot_lr_range_test(
        curve["learning_rates"], curve["losses"], curve["smoothed_losses"], suggested, title
    )
    data: dict[str, Any] = {"suggested_lr": suggested, **curve}
    data["environment"] = collect_environment(trainer.device)
    run.save_figure("lr_find", figure, 0, data)
    run.close()
    return run.figures / "lr_find.png"
