"""Draw many small images and maps in one figure, each at its exact place, so that no text overlaps
another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.viz.base import GRAY, escape_mathtext, render_figure, show_image, wrap_text

GRID_DPI = 110
TEXT_GRAY = "#555555"  # on a gray panel
CELL_GAP_INCHES = 0.06  # between the columns
CAPTION_LINE_INCHES = 0.135  # height of a caption's line
ROW_LABEL_INCHES = 1.2  # width of a row's label, at most
TITLE_SIZE, LABEL_SIZE, CAPTION_SIZE = 11, 7.5, 7  # of the font, in points
COLORMAPS = {"signed": "RdBu_r", "heat": "magma"}


@dataclass(frozen=True)
class GridCell:
    """An image, (H, W, 3) or (H, W, 1) uint8, or a map, (H, W) numbers: `signed` maps are blue
    below zero and red above, scaled to `max_value` or their own largest magnitude; `heat` goes from
    black at zero to light at the largest. None: an empty place. A map of only zeros is drawn as
    blank, with the reason."""

    image: np.ndarray | None
    caption: str = ""
    kind: Literal["image", "signed", "heat"] = "image"
    frame_color: str | None = None
    max_value: float | None = None
    blank_reason: str = "zero everywhere"


def draw_image_grid(
    rows: Sequence[Sequence[GridCell]],
    title: str,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    cell_inches: float = 0.9,
    note: str = "",
) -> np.ndarray:
    """Draw rows of cells of one size, a label before each row and above each column, captions of at
    most three lines below each cell, and a note at the bottom; return (H, W, 3) uint8."""
    captions = [
        [wrap_caption(cell.caption, cell_inches, CAPTION_SIZE, 3) for cell in row] for row in rows
    ]
    heads = [wrap_caption(label, cell_inches, LABEL_SIZE, 3) for label in column_labels]
    left = 1.35 if any(row_labels) else 0.15
    pitch = cell_inches + CELL_GAP_INCHES
    width = max(4.6, left + max(map(len, rows)) * pitch + 0.15)
    title_lines, note_lines = (
        wrap_text(title, width - 0.3, TITLE_SIZE),
        wrap_text(note, width - 0.3, CAPTION_SIZE),
    )
    top = 0.12 + 0.2 * len(title_lines) + CAPTION_LINE_INCHES * count_lines(heads) + 0.08
    below = [CAPTION_LINE_INCHES * count_lines(row) + 0.1 for row in captions]
    height = (
        top + sum(cell_inches + room for room in below) + CAPTION_LINE_INCHES * len(note_lines)
    ) + 0.12
    figure = Figure(figsize=(width, height), dpi=GRID_DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    write_text_lines(axes, width / 2, 0.1, title_lines, TITLE_SIZE, line_height=0.2)
    for column, head in enumerate(heads):
        x = left + column * pitch + cell_inches / 2
        write_text_lines(axes, x, top - 0.05 - CAPTION_LINE_INCHES * len(head), head, LABEL_SIZE)
    y = top
    for number, row in enumerate(rows):
        if number < len(row_labels):
            write_row_label(axes, left - 0.08, y + cell_inches / 2, row_labels[number])
        for column, cell in enumerate(row):
            x = left + column * pitch
            draw_cell(axes, cell, x, y, cell_inches)
            caption = captions[number][column]
            middle = x + cell_inches / 2
            write_text_lines(axes, middle, y + cell_inches + 0.03, caption, CAPTION_SIZE)
        y += cell_inches + below[number]
    write_text_lines(axes, 0.15, y, note_lines, CAPTION_SIZE, align="left", color=GRAY)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return render_figure(figure)


def count_lines(texts: Sequence[Sequence[str]]) -> int:
    """Return the number of lines of the longest of some texts."""
    return max(map(len, texts), default=0)


def wrap_caption(text: str, inches: float, size: float, max_lines: int) -> list[str]:
    """Wrap each line of a text to a width in inches at a font size in points; of more than
    `max_lines` the rest is cut, marked by an ellipsis."""
    lines = [line for part in text.split("\n") for line in wrap_text(part, inches, size)]
    if len(lines) > max_lines:
        rest = " ".join(lines[max_lines - 1 :])
        lines = [*lines[: max_lines - 1], *wrap_text(rest, inches, size, 1)]
    return lines


def write_row_label(axes: Axes, x: float, middle: float, label: str) -> None:
    """Write a label that ends at `x`, centered vertically on `middle`, in inches."""
    lines = wrap_caption(label, ROW_LABEL_INCHES, LABEL_SIZE, 6)
    y = middle - CAPTION_LINE_INCHES * len(lines) / 2
    write_text_lines(axes, x, y, lines, LABEL_SIZE, align="right")


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
    """Write lines of text downward from (x, y), in the units of the axes."""
    style: dict[str, Any] = {"ha": align, "va": "top", "fontsize": size, "color": color}
    for number, line in enumerate(lines):
        axes.text(x, y + number * line_height, escape_mathtext(line), **style)


def draw_cell(axes: Axes, cell: GridCell, x: float, y: float, inches: float) -> None:
    """Draw a cell in the square at (x, y), its aspect ratio kept."""
    if cell.image is None:
        return
    height, width = cell.image.shape[:2]
    scale = inches / max(height, width)
    w, h = width * scale, height * scale
    x, y = x + (inches - w) / 2, y + (inches - h) / 2
    extent = (x, x + w, y + h, y)
    if cell.kind == "image":
        show_image(axes, cell.image, extent=extent, interpolation="nearest")
    elif not np.isfinite(cell.image).all():
        draw_blank_panel(axes, "values are not finite", extent)
    elif not np.any(cell.image):
        draw_blank_panel(axes, cell.blank_reason, extent)
    else:
        top = cell.max_value or float(np.abs(cell.image).max())
        axes.imshow(
            cell.image,
            cmap=COLORMAPS[cell.kind],
            vmin=-top if cell.kind == "signed" else 0,
            vmax=top,
            extent=extent,
            interpolation="nearest",
        )
    if cell.frame_color:
        frame = [x, x + w, x + w, x, x], [y, y, y + h, y + h, y]
        axes.plot(*frame, color=cell.frame_color, linewidth=1.8)


def draw_blank_panel(axes: Axes, reason: str, extent: tuple[float, float, float, float]) -> None:
    """Draw a gray panel with the reason why it shows nothing; `extent` as `Axes.imshow` takes it,
    in inches."""
    left, right, bottom, top = extent
    axes.imshow(np.full((1, 1, 3), 235, np.uint8), extent=extent)
    most = int((bottom - top) / CAPTION_LINE_INCHES)
    lines = wrap_caption(f"blank: {reason}", right - left - 0.08, CAPTION_SIZE, max(1, most))
    y = (top + bottom - CAPTION_LINE_INCHES * len(lines)) / 2
    write_text_lines(axes, (left + right) / 2, y, lines, CAPTION_SIZE, color=TEXT_GRAY)
