"""Plots of an evaluation and sheets of images: (H, W, 3) uint8, color-blind safe, the finding as
the title."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.core.image import make_image_grid
from cnnlab.viz.base import (
    BLUE,
    GRAY,
    ORANGE,
    format_label,
    render_figure,
    show_image,
    write_figure_title,
)

STRIP_GAP_PX = 2  # white pixels after each image of a strip


def plot_confusion_matrix(
    counts: Sequence[Sequence[int]], classes: Sequence[str], title: str
) -> np.ndarray:
    """Plot (K, K) counts, rows = labels. Cells off the diagonal are shaded by their share of the
    largest of them, so that the diagonal does not hide them; the counts are written for at most 25
    classes."""
    table = np.asarray(counts)
    k = len(classes)
    mistakes = table * (1 - np.eye(k))
    size = max(4.5, min(12.0, 0.55 * k + 1.5))
    figure = Figure(figsize=(size, size), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(mistakes / max(1.0, mistakes.max()), cmap="Oranges", vmin=0, vmax=1.25)
    if k <= 25:
        axes.imshow(np.where(np.eye(k) > 0, 0.5, np.nan), cmap="Blues", vmin=0, vmax=1.5)
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9 if k <= 12 else 6}
        for (row, column), count in np.ndenumerate(table):
            if count:
                axes.text(column, row, f"{count}", **style)
    if k <= 50:
        write_class_ticks(axes, [format_label(name) for name in classes])
        for row in np.flatnonzero(table.sum(1) == 0).tolist():
            axes.text((k - 1) / 2, row, "no images", ha="center", va="center", color=GRAY)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=11)
    return render_figure(figure)


def write_class_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Write class names on both axes, long ones slanted below."""
    long = max(map(len, names)) > 3
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=60 if long else 0, ha="right" if long else "center")
    axes.set_yticks(ticks, names)


def plot_reliability_diagram(calibration: dict[str, Any], title: str) -> np.ndarray:
    """Plot accuracy against confidence, a bar a bin, above the number of images in each (Guo et al.
    2017, figure 1)."""
    bins = calibration["bins"]
    count, accuracy = np.asarray(bins["count"]), np.asarray(bins["accuracy"])
    width = 1 / len(count)
    edges = np.arange(len(count)) * width
    filled = count > 0
    bars: dict[str, Any] = {"align": "edge", "edgecolor": "white"}
    figure = Figure(figsize=(5.2, 5.6), dpi=110, layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.bar(edges[filled], accuracy[filled], width, color=BLUE, label="accuracy in the bin", **bars)
    top.plot([0, 1], [0, 1], "--", color=ORANGE, label="perfectly calibrated")
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    top.set_title(title, fontsize=11)
    below.bar(edges, count, width, color=GRAY, **bars)
    below.set(xlabel="confidence", ylabel="images", yscale="symlog", ylim=(0, None))
    return render_figure(figure)


def draw_captioned_images(
    images: np.ndarray, captions: Sequence[str], title: str, columns: int = 6
) -> np.ndarray:
    """Draw (N, H, W, C) uint8 images in a grid, each below its caption of two short lines."""
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.55 * columns, 2.0 * rows + 0.6), dpi=110, layout="constrained")
    write_figure_title(figure, title)
    for axes in np.ravel(figure.subplots(rows, columns)):
        axes.set_axis_off()
    for axes, image, caption in zip(figure.axes, images, captions, strict=False):
        show_image(axes, image)
        axes.set_title(caption, fontsize=8, linespacing=1.15)
    return render_figure(figure)


def draw_image_strips(strips: Sequence[tuple[str, np.ndarray]], title: str) -> np.ndarray:
    """Draw a row of (N, H, W, C) uint8 images below each caption, all at one scale."""
    widest = max(len(images) * (images.shape[2] + STRIP_GAP_PX) for _, images in strips)
    heights = [images.shape[1] for _, images in strips]
    inches = 8 / widest
    figure = Figure(
        figsize=(8.4, 0.6 + sum(h * inches + 0.28 for h in heights)), dpi=130, layout="constrained"
    )
    write_figure_title(figure, title)
    rows = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (caption, images) in zip(rows, strips, strict=True):
        sheet = make_image_grid(images, len(images), gap=STRIP_GAP_PX, background=255)
        show_image(axes, sheet[STRIP_GAP_PX:-STRIP_GAP_PX, STRIP_GAP_PX:])
        axes.set(xlim=(-0.5, widest - 0.5))
        axes.set_axis_off()
        axes.set_title(format_label(caption, 90), fontsize=8, loc="left", pad=2)
    return render_figure(figure)
