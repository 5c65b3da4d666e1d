"""Learning curves of several runs, as figures and in TensorBoard."""

from pathlib import Path
from textwrap import wrap

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable
from cnnlab.core.run import Run
from cnnlab.tasks.compare.runs import COMPARED_METRICS, SeedGroup
from cnnlab.viz.curves import MeanCurve


def find_shared_metrics(arms: list[SeedGroup]) -> list[str]:
    """What all runs have of the training loss and the validation accuracy, else of anything. Raises UsageError where
    they share nothing."""
    shared = [
        metric for metric in COMPARED_METRICS if all(metric in arm.mean_curves for arm in arms)
    ]
    if not shared:
        had = [
            f"{printable(str(one.folder))} has {', '.join(one.curves)}"
            for arm in arms
            for one in arm.runs
        ]
        raise UsageError(f"these runs share no metric: {'; '.join(had)}")
    return [
        metric for metric in ("train_loss", "validation_accuracy") if metric in shared
    ] or shared[:1]


def build_curve_panel(arms: list[SeedGroup], metric: str) -> tuple[str, list[MeanCurve]]:
    """A row of the figure: what is drawn, and each arm's line; accuracy as error, in percent."""
    error, lines = metric == "validation_accuracy", []
    for arm in arms:
        one = arm.mean_curves[metric]
        mean = tuple(100 * (1 - value) for value in one.mean) if error else one.mean
        deviation = tuple(100 * value for value in one.std) if error else one.std
        lines.append(MeanCurve(arm.label, one.steps, one.seconds, mean, deviation))
    return "validation error, %" if error else COMPARED_METRICS[metric][1], lines


def log_group_curves(folder: Path, arm: SeedGroup) -> None:
    """An arm's mean curves as a run of their own for TensorBoard, by step and by seconds of training."""
    folder.mkdir(parents=True)
    board = Run(folder)
    for metric, one in arm.mean_curves.items():
        for step, seconds, value in zip(one.steps, one.seconds, one.mean, strict=True):
            board.elapsed_s = seconds
            board.log_scalars("compare", {metric: value}, step)
    board.close()


def format_curves_title(arms: list[SeedGroup]) -> str:
    """What the figure shows: how far each came."""
    bands = {
        arm.label: arm.mean_curves["validation_accuracy"]
        for arm in arms
        if "validation_accuracy" in arm.mean_curves
    }
    last = {
        label: (f"{1 - one.mean[-1]:.1%}", f"{one.steps[-1]:,}")
        for label, one in bands.items()
        if one.steps
    }
    steps = {step for _, step in last.values()}
    if len(steps) == 1:
        text = f"Validation error after {steps.pop()} minibatches: "
        text += ", ".join(f"{label} {error}" for label, (error, _) in last.items())
    else:
        text = "Validation error: " + ", ".join(
            f"{label} {error} after {step}" for label, (error, step) in last.items()
        )
    return "\n".join(wrap(text, 100, max_lines=3, placeholder=" …"))
