"""Numbers -> pictures for a slide: (H, W, 3) uint8, colour-blind-safe, titled by what they show."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cnnlab.core.quoting import plain

# Letters that the font has not are drawn as boxes, and need no lines of matplotlib's on the terminal.
warnings.filterwarnings("ignore", message="Glyph .* missing from font")
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"  # of Okabe & Ito's palette
# Okabe & Ito's others, darkest first, each with a stroke of its own for those who see no colours.
STROKES = ((BLUE, "-"), (ORANGE, "--"), ("#009E73", "-."), ("#000000", ":"), ("#CC79A7", (0, (5, 1, 1, 1, 1, 1))),
           ("#56B4E9", (0, (8, 3))), ("#E69F00", (0, (3, 1))), (GREY, "-"))  # fmt: skip
SHORT = 12  # letters of a class name that fit an axis


def label(name: str, most: int = SHORT) -> str:
    """A class's name as it is, not as mathematics, on one line of so many letters."""
    name = plain(name)
    return (name if len(name) <= most else name[: most - 1] + "…").replace("$", r"\$")


def rendered(figure: Figure) -> np.ndarray:
    """A figure as (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def confusion_figure(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> np.ndarray:
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
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=9 if k <= 12 else 6)
    names = [label(name) for name in classes]
    if k <= 50:
        upright = max(map(len, names)) > 3
        axes.set_xticks(range(k), names, rotation=60 if upright else 0, ha="right" if upright else "center")
        axes.set_yticks(range(k), names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=11)
    return rendered(figure)


def reliability_figure(calibration: dict[str, Any], title: str) -> np.ndarray:
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
    below.bar(edges, count, width, align="edge", color=GREY, edgecolor="white")
    below.set(xlabel="confidence", ylabel="pictures", yscale="symlog", ylim=(0, None))
    return rendered(figure)


def captioned_sheet(pictures: np.ndarray, captions: Sequence[str], title: str, columns: int = 6) -> np.ndarray:
    """(N, H, W, C) uint8 pictures in a grid, each under its caption of two short lines."""
    rows = max(1, -(-len(pictures) // columns))
    figure = Figure(figsize=(1.55 * columns, 2.0 * rows + 0.6), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=12)
    for axes in np.ravel(figure.subplots(rows, columns)):
        axes.set_axis_off()
    for axes, picture, caption in zip(figure.axes, pictures, captions, strict=False):
        grey = picture.shape[-1] == 1
        axes.imshow(picture[..., 0] if grey else picture, cmap="gray" if grey else None, vmin=0, vmax=255)
        axes.set_title(caption, fontsize=8, linespacing=1.15)
    return rendered(figure)


def lr_figure(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], suggested: float, title: str
) -> np.ndarray:
    """Each step's loss and its smoothed course against the learning rate, the suggested one marked."""
    figure = Figure(figsize=(6.4, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, ".", color=GREY, markersize=3, label="each step")
    axes.plot(rates, smooth, color=BLUE, label="smoothed")
    axes.axvline(suggested, color=ORANGE, linestyle="--", label=f"suggested: {suggested:.2g}")
    axes.set(
        xscale="log", xlabel="learning rate", ylabel="loss", ylim=(0, 1.6 * max(smooth[: max(1, len(smooth) // 2)]))
    )
    axes.legend(frameon=False, loc="lower left")
    axes.set_title(title, fontsize=11)
    return rendered(figure)


@dataclass(frozen=True)
class Line:
    """A course over a run: the mean of several runs and their standard deviation."""

    label: str
    steps: Sequence[int]
    seconds: Sequence[float]
    mean: Sequence[float]
    deviation: Sequence[float]


def curves_figure(panels: Sequence[tuple[str, Sequence[Line]]], title: str) -> np.ndarray:
    """A row for each (what is measured, its lines): by step on the left, by time on the right; a band of one standard
    deviation where a line is of several runs. As the chapter's figure 5-17, its two pictures in one."""
    figure = Figure(figsize=(10, 1 + 3.2 * len(panels)), dpi=110, layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False, sharey="row", sharex="col")
    longest = max((max(line.seconds, default=0) for _, lines in panels for line in lines), default=0)
    unit, length = ("minutes", 60) if longest >= 300 else ("seconds", 1)
    for row, (what, lines) in zip(grid, panels, strict=True):
        for (color, stroke), line in zip(STROKES * len(lines), lines, strict=False):
            mean, deviation = np.asarray(line.mean), np.asarray(line.deviation)
            for axes, x in zip(row, (np.asarray(line.steps), np.asarray(line.seconds) / length), strict=True):
                alone = "o" if len(mean) == 1 else None  # a line through one point is not seen
                axes.plot(x, mean, color=color, linestyle=stroke, marker=alone, label=label(line.label, 36))
                if deviation.any():
                    axes.fill_between(x, mean - deviation, mean + deviation, color=color, alpha=0.2, linewidth=0)
        row[0].set_ylabel(what)
        for axes in row:
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.set_axisbelow(True)
    grid[-1][0].set_xlabel("minibatches")
    grid[-1][1].set_xlabel(f"{unit} of training")
    figure.suptitle(title.replace("$", r"\$"), fontsize=12)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False)
    return rendered(figure)


def strips_figure(strips: Sequence[tuple[str, np.ndarray]], title: str) -> np.ndarray:
    """A row of (N, H, W, C) uint8 pictures under each caption, all at one scale."""
    widest = max(len(pictures) * (pictures.shape[2] + 2) for _, pictures in strips)
    heights = [pictures.shape[1] for _, pictures in strips]
    inches = 8 / widest
    figure = Figure(figsize=(8.4, 0.6 + sum(h * inches + 0.28 for h in heights)), dpi=130, layout="constrained")
    figure.suptitle(title, fontsize=12)
    rows = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (caption, pictures) in zip(rows, strips, strict=True):
        padded = np.pad(pictures, ((0, 0), (0, 0), (0, 2), (0, 0)), constant_values=255)
        strip = np.concatenate(list(padded), 1)
        grey = strip.shape[-1] == 1
        axes.imshow(strip[..., 0] if grey else strip, cmap="gray" if grey else None, vmin=0, vmax=255)
        axes.set(xlim=(-0.5, widest - 0.5))
        axes.set_axis_off()
        axes.set_title(label(caption, 90), fontsize=8, loc="left", pad=2)
    return rendered(figure)


def changes_figure(
    rows: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]]]], title: str
) -> np.ndarray:
    """Rows of (their name, panels); a panel is (what is on its x axis, {layer: (amounts, distances)})."""
    figure = Figure(figsize=(10, 0.9 + 3.4 * len(rows)), dpi=110, layout="constrained")
    grid = figure.subplots(len(rows), len(rows[0][1]), squeeze=False, sharey=True)
    names = list(dict.fromkeys(layer for _, panels in rows for _, layers in panels for layer in layers))
    for line, (name, panels) in zip(grid, rows, strict=True):
        for axes, (unit, layers) in zip(line, panels, strict=True):
            for layer, (x, y) in layers.items():
                color, stroke = STROKES[names.index(layer) % len(STROKES)]  # the same in every row
                axes.plot(x, y, color=color, linestyle=stroke, marker=".", markersize=4, label=label(layer, 24))
            axes.axhline(1, color=GREY, linewidth=0.8)
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.set_xlabel(unit)
        line[0].set_ylabel(f"{label(name, 40)}\nchange (1: another picture)")
        handles, labels = line[0].get_legend_handles_labels()
        line[-1].legend(handles, labels, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylim(bottom=0)  # last: until then the shared axis grows with what is drawn
    figure.suptitle(title.replace("$", r"\$"), fontsize=12)
    return rendered(figure)
