"""Plots of learning curves, learning-rate range tests and parameter growth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cnnlab.viz.base import BLUE, GRAY, LINE_STYLES, ORANGE, format_label, render_figure


def plot_lr_range_test(
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    suggested: float,
    title: str,
) -> np.ndarray:
    """Each step's loss and its smoothed course against the learning rate, the suggested one marked."""
    figure = Figure(figsize=(6.4, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, ".", color=GRAY, markersize=3, label="each step")
    axes.plot(rates, smooth, color=BLUE, label="smoothed")
    axes.axvline(suggested, color=ORANGE, linestyle="--", label=f"suggested: {suggested:.2g}")
    axes.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="loss",
        ylim=(0, 1.6 * max(smooth[: max(1, len(smooth) // 2)])),
    )
    axes.legend(frameon=False, loc="lower left")
    axes.set_title(title, fontsize=11)
    return render_figure(figure)


@dataclass(frozen=True)
class MeanCurve:
    """A course over a run: the mean of several runs and their standard deviation."""

    label: str
    steps: Sequence[int]
    seconds: Sequence[float]
    mean: Sequence[float]
    std: Sequence[float]


def plot_learning_curves(
    panels: Sequence[tuple[str, Sequence[MeanCurve]]], title: str
) -> np.ndarray:
    """A row for each (what is measured, its lines): by step on the left, by time on the right; a band of one standard
    deviation where a line is of several runs. As the chapter's figure 5-17, its two pictures in one."""
    figure = Figure(figsize=(10, 1 + 3.2 * len(panels)), dpi=110, layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False, sharey="row", sharex="col")
    longest = max(
        (max(line.seconds, default=0) for _, lines in panels for line in lines), default=0
    )
    unit, length = ("minutes", 60) if longest >= 300 else ("seconds", 1)
    for row, (what, lines) in zip(grid, panels, strict=True):
        for (color, stroke), line in zip(LINE_STYLES * len(lines), lines, strict=False):
            mean, deviation = np.asarray(line.mean), np.asarray(line.std)
            for axes, x in zip(
                row, (np.asarray(line.steps), np.asarray(line.seconds) / length), strict=True
            ):
                alone = "o" if len(mean) == 1 else None  # a line through one point is not seen
                axes.plot(
                    x,
                    mean,
                    color=color,
                    linestyle=stroke,
                    marker=alone,
                    label=format_label(line.label, 36),
                )
                if deviation.any():
                    axes.fill_between(
                        x, mean - deviation, mean + deviation, color=color, alpha=0.2, linewidth=0
                    )
        row[0].set_ylabel(what)
        for axes in row:
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.set_axisbelow(True)
    grid[-1][0].set_xlabel("minibatches")
    grid[-1][1].set_xlabel(f"{unit} of training")
    figure.suptitle(title.replace("$", r"\$"), fontsize=12)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False
    )
    return render_figure(figure)


def plot_layer_changes(
    rows: Sequence[
        tuple[str, Sequence[tuple[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]]]
    ],
    title: str,
) -> np.ndarray:
    """Rows of (their name, panels); a panel is (what is on its x axis, {layer: (amounts, distances)})."""
    figure = Figure(figsize=(10, 0.9 + 3.4 * len(rows)), dpi=110, layout="constrained")
    grid = figure.subplots(len(rows), len(rows[0][1]), squeeze=False, sharey=True)
    names = list(
        dict.fromkeys(layer for _, panels in rows for _, layers in panels for layer in layers)
    )
    for line, (name, panels) in zip(grid, rows, strict=True):
        for axes, (unit, layers) in zip(line, panels, strict=True):
            for layer, (x, y) in layers.items():
                color, stroke = LINE_STYLES[
                    names.index(layer) % len(LINE_STYLES)
                ]  # the same in every row
                axes.plot(
                    x,
                    y,
                    color=color,
                    linestyle=stroke,
                    marker=".",
                    markersize=4,
                    label=format_label(layer, 24),
                )
            axes.axhline(1, color=GRAY, linewidth=0.8)
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.set_xlabel(unit)
        line[0].set_ylabel(f"{format_label(name, 40)}\nchange (1: another picture)")
        handles, labels = line[0].get_legend_handles_labels()
        line[-1].legend(
            handles,
            labels,
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            frameon=False,
            fontsize=8,
        )
    for axes in grid[:, 0]:
        axes.set_ylim(bottom=0)  # last: until then the shared axis grows with what is drawn
    figure.suptitle(title.replace("$", r"\$"), fontsize=12)
    return render_figure(figure)


def plot_parameter_growth(
    sizes: Sequence[int], full: Sequence[int], shared: Sequence[int], title: str
) -> np.ndarray:
    """Parameters of a fully connected and of a convolutional layer for square pictures of so many pixels across ->
    (H, W, 3) uint8."""
    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sizes, full, "o-", color=ORANGE, label="fully connected")
    axes.plot(sizes, shared, "s--", color=BLUE, label="convolutional")
    axes.set(
        xlabel="width and height of the picture, pixels",
        ylabel="parameters of the layer",
        yscale="log",
    )
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="center right")
    axes.set_title(title, fontsize=11)
    return render_figure(figure)
