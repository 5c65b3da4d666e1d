"""Numbers -> pictures for a slide: (H, W, 3) uint8, colour-blind-safe, titled by what they show."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cnnlab.viz.base import BLUE, GRAY, ORANGE, format_label, render_figure

# Letters that the font has not are drawn as boxes, and need no lines of matplotlib's on the terminal.
warnings.filterwarnings("ignore", message="Glyph .* missing from font")


def plot_confusion_matrix(
    counts: Sequence[Sequence[int]], classes: Sequence[str], title: str
) -> np.ndarray:
    """(K, K) counts, rows = true. Shade is a cell's share of the largest count of mistakes, so that what is right does
    not drown them; counts are written in where there are at most 25 classes."""
    table = np.asarray(counts)
    k = len(classes)
    mistakes = table * (1 - np.eye(k))
    size = max(4.5, min(12.0, 0.55 * k + 1.5))
    figure = Figure(figsize=(size, size), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(mistakes / max(1.0, mistakes.max()), cmap="Oranges", vmin=0, vmax=1.25)
    if k <= 25:
        axes.imshow(np.where(np.eye(k) > 0, 0.5, np.nan), cmap="Blues", vmin=0, vmax=1.5)
        for (row, column), count in np.ndenumerate(table):
            if count:
                axes.text(
                    column, row, f"{count}", ha="center", va="center", fontsize=9 if k <= 12 else 6
                )
    names = [format_label(name) for name in classes]
    if k <= 50:
        upright = max(map(len, names)) > 3
        axes.set_xticks(
            range(k), names, rotation=60 if upright else 0, ha="right" if upright else "center"
        )
        axes.set_yticks(range(k), names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=11)
    return render_figure(figure)


def plot_reliability_diagram(calibration: dict[str, Any], title: str) -> np.ndarray:
    """Accuracy against confidence, a bar a bin, above how many pictures fall into each (Guo et al. 2017, figure 1)."""
    bins = calibration["bins"]
    count, accuracy = np.asarray(bins["count"]), np.asarray(bins["accuracy"])
    width = 1 / len(count)
    edges = np.arange(len(count)) * width
    figure = Figure(figsize=(5.2, 5.6), dpi=110, layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    shown = count > 0
    top.bar(
        edges[shown],
        accuracy[shown],
        width,
        align="edge",
        color=BLUE,
        edgecolor="white",
        label="accuracy in the bin",
    )
    top.plot([0, 1], [0, 1], "--", color=ORANGE, label="perfectly calibrated")
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    top.set_title(title, fontsize=11)
    below.bar(edges, count, width, align="edge", color=GRAY, edgecolor="white")
    below.set(xlabel="confidence", ylabel="pictures", yscale="symlog", ylim=(0, None))
    return render_figure(figure)


def draw_captioned_images(
    pictures: np.ndarray, captions: Sequence[str], title: str, columns: int = 6
) -> np.ndarray:
    """(N, H, W, C) uint8 pictures in a grid, each under its caption of two short lines."""
    rows = max(1, -(-len(pictures) // columns))
    figure = Figure(figsize=(1.55 * columns, 2.0 * rows + 0.6), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=12)
    for axes in np.ravel(figure.subplots(rows, columns)):
        axes.set_axis_off()
    for axes, picture, caption in zip(figure.axes, pictures, captions, strict=False):
        grey = picture.shape[-1] == 1
        axes.imshow(
            picture[..., 0] if grey else picture, cmap="gray" if grey else None, vmin=0, vmax=255
        )
        axes.set_title(caption, fontsize=8, linespacing=1.15)
    return render_figure(figure)


def draw_image_strips(strips: Sequence[tuple[str, np.ndarray]], title: str) -> np.ndarray:
    """A row of (N, H, W, C) uint8 pictures under each caption, all at one scale."""
    widest = max(len(pictures) * (pictures.shape[2] + 2) for _, pictures in strips)
    heights = [pictures.shape[1] for _, pictures in strips]
    inches = 8 / widest
    figure = Figure(
        figsize=(8.4, 0.6 + sum(h * inches + 0.28 for h in heights)), dpi=130, layout="constrained"
    )
    figure.suptitle(title, fontsize=12)
    rows = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (caption, pictures) in zip(rows, strips, strict=True):
        padded = np.pad(pictures, ((0, 0), (0, 0), (0, 2), (0, 0)), constant_values=255)
        strip = np.concatenate(list(padded), 1)
        grey = strip.shape[-1] == 1
        axes.imshow(
            strip[..., 0] if grey else strip, cmap="gray" if grey else None, vmin=0, vmax=255
        )
        axes.set(xlim=(-0.5, widest - 0.5))
        axes.set_axis_off()
        axes.set_title(format_label(caption, 90), fontsize=8, loc="left", pad=2)
    return render_figure(figure)
