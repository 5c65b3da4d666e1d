"""Learning curves of groups of runs, for figures and TensorBoard."""

from pathlib import Path
from textwrap import wrap

import numpy as np

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable
from cnnlab.core.run import Run
from cnnlab.tasks.compare.runs import COMPARED_METRICS, SeedGroup
from cnnlab.viz.curves import MeanCurve


def find_shared_metrics(groups: list[SeedGroup]) -> list[str]:
    """Return which of training loss and validation accuracy all runs have, else the first metric
    that they share. Raises UsageError if they share none."""
    shared = [
        metric
        for metric in COMPARED_METRICS
        if all(metric in group.mean_curves for group in groups)
    ]
    if not shared:
        metrics = [
            f"{printable(str(run.folder))} has {', '.join(run.curves)}"
            for group in groups
            for run in group.runs
        ]
        raise UsageError(f"these runs share no metric: {'; '.join(metrics)}")
    preferred = ("train_loss", "validation_accuracy")
    return [metric for metric in shared if metric in preferred] or shared[:1]


def build_curve_panel(groups: list[SeedGroup], metric: str) -> tuple[str, list[MeanCurve]]:
    """Return the axis label and the curve of each group for a panel of the figure.

    Validation accuracy is converted to validation error in percent. Bands are of one standard
    deviation.
    """
    is_error = metric == "validation_accuracy"
    curves = []
    for group in groups:
        band = group.mean_curves[metric]
        mean, std = np.asarray(band.mean), np.asarray(band.std)
        if is_error:
            mean, std = 100 * (1 - mean), 100 * std
        low, high = (mean - std).tolist(), (mean + std).tolist()
        curves.append(MeanCurve(group.label, band.steps, band.seconds, mean.tolist(), low, high))
    return "validation error, %" if is_error else COMPARED_METRICS[metric][1], curves


def log_group_curves(folder: Path, group: SeedGroup) -> None:
    """Write a group's mean curves as a run of its own for TensorBoard, with the training time as
    wall time."""
    folder.mkdir(parents=True)
    run = Run(folder)
    for metric, band in group.mean_curves.items():
        for step, seconds, value in zip(band.steps, band.seconds, band.mean, strict=True):
            run.elapsed_s = seconds
            run.log_scalars("compare", {metric: value}, step)
    run.close()


def format_curves_title(groups: list[SeedGroup]) -> str:
    """Return the figure's title: the last validation error of each group and its step."""
    last = {}
    for group in groups:
        band = group.mean_curves.get("validation_accuracy")
        if band and band.steps:
            last[group.label] = (f"{1 - band.mean[-1]:.1%}", f"{band.steps[-1]:,}")
    steps = {step for _, step in last.values()}
    if len(steps) == 1:
        title = f"Validation error after {steps.pop()} minibatches: "
        title += ", ".join(f"{label} {error}" for label, (error, _) in last.items())
    else:
        title = "Validation error: "
        title += ", ".join(f"{label} {error} after {step}" for label, (error, step) in last.items())
    return "\n".join(wrap(title, 100, max_lines=3, placeholder=" …"))
