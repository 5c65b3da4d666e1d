"""Learning curves of groups of runs, for figures and TensorBoard."""

from pathlib import Path
from textwrap import wrap

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

    Validation accuracy is converted to validation error in percent.
    """
    if metric == "validation_accuracy":
        return "validation error, %", [build_error_curve(group) for group in groups]
    curves = []
    for group in groups:
        band = group.mean_curves[metric]
        curves.append(MeanCurve(group.label, band.steps, band.seconds, band.mean, band.std))
    return COMPARED_METRICS[metric][1], curves


def build_error_curve(group: SeedGroup) -> MeanCurve:
    """Return a group's mean validation error in percent."""
    band = group.mean_curves["validation_accuracy"]
    mean = tuple(100 * (1 - value) for value in band.mean)
    std = tuple(100 * value for value in band.std)
    return MeanCurve(group.label, band.steps, band.seconds, mean, std)


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
