"""Plot a map as points, with a color and a name for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cnnlab.viz.base import BLUE, GRAY, format_label, render_figure
from cnnlab.viz.embedding.class_names import MAX_ALWAYS_NAMED, draw_class_names
from cnnlab.viz.embedding.layout import (
    CLASS_PALETTE,
    PIXEL_FIGURE_MARGIN,
    find_class_density_peaks,
    get_class_color,
    height_width_ratio,
    make_pixel_figure,
    map_to_pixels,
    wrap_to_width,
)
from cnnlab.viz.image_grid import write_text_lines

NOTE_HEIGHT = 28  # pixels of the line on omitted names
CLASS_MARKERS = "o^sDvPX"  # of the first ten classes, of the next ten, and so on
MARK_STYLES: dict[str, tuple[float, dict[str, Any]]] = {
    "misclassified": (
        34,
        {"marker": "o", "facecolors": "none", "edgecolors": "#000000", "linewidths": 0.9},
    ),
    "classified correctly": (
        34,
        {"marker": "o", "facecolors": "none", "edgecolors": BLUE, "linewidths": 1.2},
    ),
    "near-duplicate": (
        70,
        {"marker": "D", "facecolors": "none", "edgecolors": "#FF7F00", "linewidths": 1.8},
    ),
    "your images": (
        420,
        {"marker": "*", "facecolors": "#FFE100", "edgecolors": "#000000", "linewidths": 1.2},
    ),
}


def plot_embedding(
    maps: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    is_misclassified: np.ndarray | None = None,
    is_near_duplicate: np.ndarray | None = None,
    is_user_image: np.ndarray | None = None,
    title: str,
    note: str = "",
) -> np.ndarray:
    """Return (H, W, 3) uint8: scatter plots of (N, 2) maps of the same N images, side by side.

    `labels`: (N,), -1 unknown. The masks are (N,) bool, or (maps, N) where maps differ:
    misclassified images get a black ring, or the others do where more than half are misclassified;
    near-duplicates get an orange diamond, user images a star.
    """
    side = 1000 if len(maps) == 1 else max(500, 1680 // len(maps))
    width = len(maps) * (side + PIXEL_FIGURE_MARGIN) + PIXEL_FIGURE_MARGIN
    text_width = width - 2 * PIXEL_FIGURE_MARGIN
    title_lines, note_lines = (
        wrap_to_width(title, text_width, 16),
        wrap_to_width(note, text_width, 11),
    )
    masks = {
        **choose_ringed(is_misclassified, labels),
        "near-duplicate": is_near_duplicate,
        "your images": is_user_image,
    }
    marks = {
        name: np.broadcast_to(mask, (len(maps), len(labels)))
        for name, mask in masks.items()
        if mask is not None and (mask.any() or name == "classified correctly")
    }
    top = 20 + 30 * len(title_lines) + (34 if len(maps) > 1 else 4)
    height = int(side * np.clip(max(height_width_ratio(y) for y in maps.values()), 0.5, 1))
    bottom = top + height + 12
    note_top = bottom + 34 * bool(marks)
    figure, axes = make_pixel_figure(width, note_top + 21 * len(note_lines) + 12)
    write_text_lines(axes, width / 2, 16, title_lines, 16, line_height=30)
    for number, (name, y) in enumerate(maps.items()):
        corner = np.array([PIXEL_FIGURE_MARGIN + number * (side + PIXEL_FIGURE_MARGIN), top])
        if len(maps) > 1:
            draw_panel_title(axes, name, corner[0] + side / 2, top - 8)
        panel_marks = {kind: mask[number] for kind, mask in marks.items() if mask[number].any()}
        draw_panel(axes, y, labels, classes, panel_marks, corner, np.array([side, height]))
    draw_mark_legend(axes, marks, width / 2, bottom + 14)
    write_text_lines(
        axes,
        PIXEL_FIGURE_MARGIN,
        note_top,
        note_lines,
        11,
        align="left",
        line_height=21,
        color=GRAY,
    )
    return render_figure(figure)


def choose_ringed(is_misclassified: np.ndarray | None, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the images to ring, by name: the smaller of the misclassified and the others, so that
    rings do not hide the points."""
    if is_misclassified is None:
        return {}
    is_correct = ~is_misclassified & (labels >= 0)
    if is_misclassified.sum() > is_correct.sum():
        return {"classified correctly": is_correct}
    return {"misclassified": is_misclassified}


def draw_panel_title(axes: Axes, name: str, x: float, bottom: float) -> None:
    """Draw the name of a map above its panel."""
    axes.text(x, bottom, format_label(name, 48), ha="center", va="bottom", fontsize=13)


def draw_panel(
    axes: Axes,
    y: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    marks: Mapping[str, np.ndarray],
    corner: np.ndarray,
    size: np.ndarray,
) -> None:
    """Draw one map with its marks and class names in a panel of (width, height)."""
    axes.add_patch(Rectangle(tuple(corner), *size, fill=False, edgecolor="#DDDDDD"))
    points = map_to_pixels(y, size[0], size[1], 30) + corner
    draw_points(axes, points, labels)
    draw_marks(axes, points, marks)
    peaks = find_class_density_peaks(points, labels)
    # The line on names that are left out is below all names, in the margin of the points.
    note_height = NOTE_HEIGHT if len(peaks) > MAX_ALWAYS_NAMED else 0
    box = corner, corner + size - [0, note_height]
    omitted = draw_class_names(axes, peaks, classes, points, labels, box)
    if omitted:
        text = f"{omitted} of {len(peaks)} class names are left out: they would hide the points"
        x, bottom = corner[0] + 8, corner[1] + size[1] - 8
        axes.text(x, bottom, text, va="bottom", fontsize=9, color=GRAY)


def draw_points(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """Draw a point for each image, in an order in which no class covers all others."""
    n = len(points)
    alpha = float(np.clip(6_000 / n, 0.4, 0.9))
    order = low_discrepancy_order(n)
    colors = np.array([get_class_color(k) for k in range(-1, int(labels.max()) + 1)])[labels + 1]
    for family in np.unique(labels // len(CLASS_PALETTE)).tolist():
        members = order[labels[order] // len(CLASS_PALETTE) == family]
        marker: Any = CLASS_MARKERS[max(0, family) % len(CLASS_MARKERS)]
        x, y = points[members].T
        axes.scatter(
            x, y, s=marker_area(n), c=colors[members], marker=marker, alpha=alpha, linewidths=0
        )


def marker_area(n: int) -> float:
    """Return the area of one of n points, in square typographic points."""
    return float(np.clip(100_000 / n, 4, 60))


def low_discrepancy_order(n: int) -> np.ndarray:
    """Return a permutation of n whose every prefix is spread evenly (Weyl 1916)."""
    return (np.arange(n) * ((5**0.5 - 1) / 2) % 1).argsort()


def draw_marks(axes: Axes, points: np.ndarray, marks: Mapping[str, np.ndarray]) -> None:
    """Draw the marks around their points, smaller where there are many."""
    for name, mask in marks.items():
        size, style = MARK_STYLES[name]
        scale = float(np.clip(500 / mask.sum(), 0.15, 1))
        x, y = points[mask].T
        axes.scatter(
            x,
            y,
            s=size * scale + marker_area(len(points)),
            **style | {"linewidths": style["linewidths"] * scale**0.5},
        )


def draw_mark_legend(axes: Axes, marks: Mapping[str, np.ndarray], x: float, y: float) -> None:
    """Draw a one-line legend centered on (x, y): the marks and their counts on each map."""
    counts = {
        name: list(dict.fromkeys(f"{mask.sum():,}" for mask in masks))
        for name, masks in marks.items()
    }
    texts = [f"{name} ({' and '.join(numbers)})" for name, numbers in counts.items()]
    widths = [64 + 9.3 * len(text) for text in texts]
    x -= sum(widths) / 2
    for name, text, width in zip(marks, texts, widths, strict=True):
        size, style = MARK_STYLES[name]
        axes.scatter(x + 24, y, s=size, **style)
        axes.text(x + 44, y, text, va="center", fontsize=12)
        x += width
