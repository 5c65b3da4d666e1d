"""Plots of learning curves, learning-rate range tests, invariance and parameter growth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.viz.base import (
    BLUE,
    GRAY,
    LINE_STYLES,
    ORANGE,
    draw_grid_lines,
    format_label,
    format_legend_label,
    render_figure,
    write_figure_title,
)

LayerCurves = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # {layer: (x, y)}


def plot_lr_range_test(
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    suggested: float,
    title: str,
) -> np.ndarray:
    """Plot the loss of each step and its smoothed curve against the learning rate, the suggested
    rate marked."""
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
    """A metric over training: the mean of several runs, and a band from `low` to `high`, such as
    their range."""

    label: str
    steps: Sequence[int]
    seconds: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def plot_learning_curves(
    panels: Sequence[tuple[str, Sequence[MeanCurve]]], title: str
) -> np.ndarray:
    """Plot a row for each panel, (metric, its curves): against steps on the left, against time on
    the right, with each curve's band. The chapter's figure 5-17, its two plots in one."""
    figure = Figure(figsize=(10, 1 + 3.2 * len(panels)), dpi=110, layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False, sharey="row", sharex="col")
    longest = max(
        (max(curve.seconds, default=0) for _, curves in panels for curve in curves), default=0
    )
    unit, unit_s = ("minutes", 60) if longest >= 300 else ("seconds", 1)
    for row, (metric, curves) in zip(grid, panels, strict=True):
        for style, curve in zip(LINE_STYLES * len(curves), curves, strict=False):
            plot_mean_curve(row[0], np.asarray(curve.steps), curve, style)
            plot_mean_curve(row[1], np.asarray(curve.seconds) / unit_s, curve, style)
        row[0].set_ylabel(metric)
        for axes in row:
            draw_grid_lines(axes)
    grid[-1][0].set_xlabel("minibatches")
    grid[-1][1].set_xlabel(f"{unit} of training")
    write_figure_title(figure, title)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False
    )
    return render_figure(figure)


def plot_mean_curve(axes: Axes, x: np.ndarray, curve: MeanCurve, style: tuple[str, object]) -> None:
    """Plot a curve's mean against `x`, and its band unless that is empty."""
    color, line_style = style
    marker = "o" if len(curve.mean) == 1 else None  # a line through one point is invisible
    axes.plot(
        x,
        curve.mean,
        color=color,
        linestyle=line_style,
        marker=marker,
        label=format_legend_label(curve.label, 36),
    )
    if tuple(curve.low) != tuple(curve.high):
        axes.fill_between(x, curve.low, curve.high, color=color, alpha=0.2, linewidth=0)


def plot_layer_changes(
    rows: Sequence[tuple[str, Sequence[tuple[str, LayerCurves]]]], title: str
) -> np.ndarray:
    """Plot rows of (name, panels), where a panel is (x label, {layer: (amounts, distances)})."""
    figure = Figure(figsize=(10, 0.9 + 3.4 * len(rows)), dpi=110, layout="constrained")
    grid = figure.subplots(len(rows), len(rows[0][1]), squeeze=False, sharey=True)
    layers = dict.fromkeys(layer for _, panels in rows for _, curves in panels for layer in curves)
    styles = dict(zip(layers, cycle(LINE_STYLES), strict=False))  # the same in every row
    for row, (name, panels) in zip(grid, rows, strict=True):
        for axes, (x_label, curves) in zip(row, panels, strict=True):
            plot_layer_curves(axes, curves, styles)
            axes.set_xlabel(x_label)
        row[0].set_ylabel(f"{format_label(name, 40)}\nchange (1: another image)")
        add_side_legend(row)
    for axes in grid[:, 0]:
        axes.set_ylim(bottom=0)  # last: until then the shared axis grows with the data
    write_figure_title(figure, title)
    return render_figure(figure)


def plot_layer_curves(
    axes: Axes, curves: LayerCurves, styles: Mapping[str, tuple[str, object]]
) -> None:
    """Plot a curve for each layer, and a line at 1."""
    for layer, (x, y) in curves.items():
        color, line_style = styles[layer]
        axes.plot(
            x,
            y,
            color=color,
            linestyle=line_style,
            marker=".",
            markersize=4,
            label=format_legend_label(layer, 24),
        )
    axes.axhline(1, color=GRAY, linewidth=0.8)
    draw_grid_lines(axes)


def add_side_legend(row: Sequence[Axes]) -> None:
    """Put the legend of a row's first axes to the right of its last."""
    handles, labels = row[0].get_legend_handles_labels()
    row[-1].legend(
        handles,
        labels,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=8,
    )


def plot_parameter_growth(
    sizes: Sequence[int], full: Sequence[int], shared: Sequence[int], title: str
) -> np.ndarray:
    """Plot the parameters of a fully connected and of a convolutional layer against the side of a
    square input image, in pixels."""
    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sizes, full, "o-", color=ORANGE, label="fully connected")
    axes.plot(sizes, shared, "s--", color=BLUE, label="convolutional")
    axes.set(
        xlabel="width and height of the image, pixels",
        ylabel="parameters of the layer",
        yscale="log",
    )
    draw_grid_lines(axes)
    axes.legend(frameon=False, loc="center right")
    axes.set_title(title, fontsize=11)
    return render_figure(figure)
