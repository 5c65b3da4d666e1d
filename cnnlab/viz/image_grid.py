"""Many small pictures and maps on one figure, each at its exact place, so that no text falls on another."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.core.quoting import printable
from cnnlab.viz.base import GRAY, render_figure

GRID_DPI = 110
CAPTION_LINE_INCHES = 0.135  # inches that a line of a caption takes
CAPTION_LETTER_INCHES = 0.068  # and a letter of it, at most
COLORMAPS = {"signed": "RdBu_r", "heat": "magma"}


@dataclass(frozen=True)
class GridCell:
    """A picture, (H, W, 3) or (H, W, 1) uint8, or a map, (H, W) numbers: `signed` ones are blue below zero and red
    above, to their own largest magnitude or `top`; `heat` goes from black at zero to light at the largest. None: an
    empty place. A map of nothing but zeros is drawn as blank."""

    image: np.ndarray | None
    caption: str = ""
    kind: Literal["picture", "signed", "heat"] = "picture"
    frame_color: str | None = None
    max_value: float | None = None


def draw_image_grid(
    rows: Sequence[Sequence[GridCell]],
    title: str,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    cell_inches: float = 0.9,
    note: str = "",
) -> np.ndarray:
    """Rows of cells of one size, a label before each row and above each column, captions of at most three lines below
    each cell, and a note at the foot -> (H, W, 3) uint8."""
    letters = int(cell_inches / CAPTION_LETTER_INCHES)
    captions = [[wrap_caption(cell.caption, letters, 3) for cell in row] for row in rows]
    left = 1.35 if any(row_labels) else 0.15
    wide = max(4.6, left + max(map(len, rows)) * (cell_inches + 0.06) + 0.15)
    heads = [wrap_caption(one, letters, 3) for one in column_labels]
    titles = wrap(printable(title), int(wide / 0.088))
    feet = wrap(printable(note), int(wide / 0.06))
    top = 0.12 + 0.2 * len(titles) + CAPTION_LINE_INCHES * max(map(len, heads), default=0) + 0.08
    below = [CAPTION_LINE_INCHES * max(map(len, row), default=0) + 0.1 for row in captions]
    high = top + sum(cell_inches + one for one in below) + CAPTION_LINE_INCHES * len(feet) + 0.12
    figure = Figure(figsize=(wide, high), dpi=GRID_DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0))
    axes.set_axis_off()
    write_text_lines(axes, wide / 2, 0.1, titles, 11, line_height=0.2)
    for column, head in enumerate(heads):
        write_text_lines(
            axes,
            left + column * (cell_inches + 0.06) + cell_inches / 2,
            top - 0.05 - CAPTION_LINE_INCHES * len(head),
            head,
            7.5,
        )
    y = top
    for number, row in enumerate(rows):
        if number < len(row_labels):
            lines = wrap_caption(row_labels[number], 17, 6)
            write_text_lines(
                axes,
                left - 0.08,
                y + cell_inches / 2 - CAPTION_LINE_INCHES * len(lines) / 2,
                lines,
                7.5,
                align="right",
            )
        for column, cell in enumerate(row):
            x = left + column * (cell_inches + 0.06)
            draw_cell(axes, cell, x, y, cell_inches)
            write_text_lines(
                axes, x + cell_inches / 2, y + cell_inches + 0.03, captions[number][column], 7
            )
        y += cell_inches + below[number]
    write_text_lines(axes, 0.15, y, feet, 7, align="left", color=GRAY)
    axes.set(xlim=(0, wide), ylim=(high, 0))
    return render_figure(figure)


def wrap_caption(text: str, letters: int, most: int) -> list[str]:
    """A text on at most so many lines of so many letters; what does not fit is cut, and shown to be."""
    lines = [line for part in text.split("\n") for line in wrap(printable(part), letters)]
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: letters - 1] + "…"]
    return lines


def write_text_lines(
    axes: Axes,
    x: float,
    y: float,
    lines: Sequence[str],
    size: float,
    *,
    align: str = "center",
    line_height: float = CAPTION_LINE_INCHES,
    color: str = "black",
) -> None:
    """Lines of text from (x, y) down, in inches."""
    for number, line in enumerate(lines):
        text = line.replace("$", r"\$")  # a dollar sign is one, and begins no mathematics
        axes.text(x, y + number * line_height, text, ha=align, va="top", fontsize=size, color=color)


def draw_cell(axes: Axes, cell: GridCell, x: float, y: float, inches: float) -> None:
    """A cell at its place, its proportions kept."""
    if cell.image is None:
        return
    height, width = cell.image.shape[:2]
    scale = inches / max(height, width)
    w, h = width * scale, height * scale
    x, y = x + (inches - w) / 2, y + (inches - h) / 2
    extent = (x, x + w, y + h, y)
    if cell.kind == "picture":
        grey = cell.image.shape[2] == 1
        picture = cell.image[..., 0] if grey else cell.image
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    elif not np.any(cell.image):
        axes.imshow(np.full((1, 1, 3), 235, np.uint8), extent=extent)
        axes.text(x + w / 2, y + h / 2, "blank", ha="center", va="center", fontsize=7.5, color=GRAY)
    else:
        top = cell.max_value or float(np.abs(cell.image).max())
        low = -top if cell.kind == "signed" else 0
        axes.imshow(
            cell.image,
            cmap=COLORMAPS[cell.kind],
            vmin=low,
            vmax=top,
            extent=extent,
            interpolation="nearest",
        )
    if cell.frame_color:
        axes.plot(
            [x, x + w, x + w, x, x], [y, y, y + h, y + h, y], color=cell.frame_color, linewidth=1.8
        )
