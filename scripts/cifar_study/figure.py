"""The chapter's figure 5-17 from the study's summaries: with and without batch normalization."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.core.files import write_json
from cnnlab.core.image import save_png
from cnnlab.viz.base import LINE_STYLES, draw_grid_lines, render_figure, write_figure_title
from cnnlab.viz.curves import MeanCurve, plot_mean_curve

from .configurations import STUDY_EPOCHS
from .summaries import FOLDER, Groups, StudyRun

FIGURE = FOLDER.parents[1] / "outputs" / "gallery" / "figure_5_17_study.png"
PANELS = {"train_loss": "training loss", "validation_accuracy": "validation error, %"}
LABELS = {"cnn": "without batch normalization (cnn)", "bn": "with batch normalization (bn)"}


def average_runs(label: str, runs: Sequence[StudyRun], metric: str) -> MeanCurve:
    """Return the mean of the runs' curves and their range; of an accuracy the error in percent."""
    curves = [run.curves[metric] for run in runs]
    values = np.array([curve.values for curve in curves])
    if metric.endswith("accuracy"):
        values = 100 * (1 - values)
    seconds = np.mean([curve.seconds for curve in curves], axis=0)
    rows = (seconds, values.mean(0), values.min(0), values.max(0))
    return MeanCurve(label, curves[0].steps, *(row.round(4).tolist() for row in rows))


def format_title(errors: Sequence[MeanCurve], num_seeds: Sequence[int]) -> str:
    """Return the figure's title: the last errors, and what lines and bands are."""
    last = ", ".join(f"{curve.mean[-1]:.1f} % {curve.label.split()[0]}" for curve in errors)
    title = f"Validation error after {errors[0].steps[-1]:,} minibatches: {last}"
    seeds = " and ".join(str(number) for number in dict.fromkeys(num_seeds))
    lines = "one seed each" if seeds == "1" else f"mean and range of {seeds} seeds"
    return f"{title} batch normalization\n{lines}"


def plot_panels(panels: Mapping[str, Sequence[MeanCurve]], title: str) -> np.ndarray:
    """Plot the metrics side by side against the minibatches. Time is left out: other work ran
    beside the trainings."""
    figure = Figure(figsize=(10, 4.6), dpi=110, layout="constrained")
    for axes, (metric, curves) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for style, curve in zip(LINE_STYLES, curves, strict=False):
            plot_mean_curve(axes, np.asarray(curve.steps), curve, style)
        axes.set(xlabel="minibatches of 128", ylabel=PANELS[metric])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        draw_grid_lines(axes)
    write_figure_title(figure, title)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return render_figure(figure)


def build_figure(groups: Groups) -> list[str]:
    """Draw the figure of the finished runs, and write their names as JSON beside it; return its
    line for the page. Without finished runs that is the figure of the earlier measurements."""
    drawn = {name: groups[name, STUDY_EPOCHS] for name in LABELS if (name, STUDY_EPOCHS) in groups}
    if not drawn:
        return ["![Figure 5-17 of the earlier measurements](../outputs/gallery/figure_5_17.png)"]
    panels = {
        metric: [average_runs(LABELS[name], runs, metric) for name, runs in drawn.items()]
        for metric in PANELS
    }
    title = format_title(panels["validation_accuracy"], [len(runs) for runs in drawn.values()])
    save_png(FIGURE, plot_panels(panels, title))
    record = {
        "command": "scripts/reproduce_cifar --table",
        "runs": [f"docs/cifar10_runs/{run.file_name}" for runs in drawn.values() for run in runs],
    }
    write_json(FIGURE.with_suffix(".json"), record)
    caption = title.replace("\n", "; ")
    return [f"![{caption}](../outputs/gallery/{FIGURE.name})"]
