"""A map of pictures as points: (H, W, 3) uint8, a colour for each class and its name where most of it lies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from cnnlab.viz.base import GRAY, format_label, render_figure
from cnnlab.viz.embedding.layout import (
    CLASS_PALETTE,
    PIXEL_FIGURE_MARGIN,
    find_class_density_peaks,
    get_class_color,
    get_class_text_color,
    height_width_ratio,
    make_pixel_figure,
    map_to_pixels,
    wrap_to_width,
)
from cnnlab.viz.image_grid import write_text_lines

CLASS_MARKERS = "o^sDvPX"  # of the first ten classes, of the next ten, and so on
MARK_STYLES: dict[str, tuple[float, dict[str, Any]]] = {
    "mistaken": (
        34,
        {"marker": "o", "facecolors": "none", "edgecolors": "#000000", "linewidths": 0.9},
    ),
    "near-duplicate": (
        70,
        {"marker": "D", "facecolors": "none", "edgecolors": "#FF7F00", "linewidths": 1.8},
    ),
    "your own": (
        420,
        {"marker": "*", "facecolors": "#FFE100", "edgecolors": "#000000", "linewidths": 1.2},
    ),
}
# Where a name is tried, nearest first, in sizes of its letters.
LABEL_OFFSETS = np.array(
    [
        (r * np.cos(a), r * np.sin(a))
        for r in np.arange(0, 10, 0.4)
        for a in np.arange(16) * np.pi / 8
    ]
)


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
    """{name: (N, 2) map of the same N pictures}, side by side, (N,) labels, -1 unknown -> (H, W, 3) uint8. (N,) bool
    each: `mistaken` pictures get a black ring, `ringed` ones (near-duplicates) an orange diamond, `own` ones a star;
    what differs from map to map, such as who mistakes which, as (maps, N)."""
    side = 1000 if len(maps) == 1 else max(500, 1680 // len(maps))
    width = len(maps) * (side + PIXEL_FIGURE_MARGIN) + PIXEL_FIGURE_MARGIN
    heads, feet = (
        wrap_to_width(title, width - 2 * PIXEL_FIGURE_MARGIN, 16),
        wrap_to_width(note, width - 2 * PIXEL_FIGURE_MARGIN, 11),
    )
    given = {
        "mistaken": is_misclassified,
        "near-duplicate": is_near_duplicate,
        "your own": is_user_image,
    }
    shape = len(maps), len(labels)
    marks = {
        name: np.broadcast_to(mask, shape)
        for name, mask in given.items()
        if mask is not None and mask.any()
    }
    top = 20 + 30 * len(heads) + (34 if len(maps) > 1 else 4)
    high = int(side * np.clip(max(height_width_ratio(y) for y in maps.values()), 0.5, 1))
    foot = top + high + 12
    figure, axes = make_pixel_figure(width, foot + 34 * bool(marks) + 21 * len(feet) + 12)
    write_text_lines(axes, width / 2, 16, heads, 16, line_height=30)
    for number, (name, y) in enumerate(maps.items()):
        corner = np.array([PIXEL_FIGURE_MARGIN + number * (side + PIXEL_FIGURE_MARGIN), top])
        if len(maps) > 1:
            axes.text(
                corner[0] + side / 2,
                top - 8,
                format_label(name, 48),
                ha="center",
                va="bottom",
                fontsize=13,
            )
        axes.add_patch(
            Rectangle((corner[0], corner[1]), side, high, fill=False, edgecolor="#DDDDDD")
        )
        points = map_to_pixels(y, side, high, 30) + corner
        draw_points(axes, points, labels)
        draw_marks(
            axes,
            points,
            {kind: masks[number] for kind, masks in marks.items() if masks[number].any()},
        )
        draw_class_names(
            axes,
            find_class_density_peaks(points, labels),
            classes,
            (corner, corner + np.array([side, high])),
        )
    draw_mark_legend(axes, marks, width / 2, foot + 14)
    write_text_lines(
        axes,
        PIXEL_FIGURE_MARGIN,
        foot + 34 * bool(marks),
        feet,
        11,
        align="left",
        line_height=21,
        color=GRAY,
    )
    return render_figure(figure)


def draw_points(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """A dot a picture, the smaller the more there are, in an order that lets no class lie on all others."""
    n = len(points)
    alpha = float(np.clip(6_000 / n, 0.4, 0.9))
    mixed = low_discrepancy_order(n)
    colours = np.array([get_class_color(k) for k in range(-1, int(labels.max()) + 1)])[labels + 1]
    for family in np.unique(labels // len(CLASS_PALETTE)).tolist():
        some = mixed[labels[mixed] // len(CLASS_PALETTE) == family]
        marker: Any = CLASS_MARKERS[max(0, family) % len(CLASS_MARKERS)]
        x, down = points[some].T
        axes.scatter(
            x, down, s=marker_area(n), c=colours[some], marker=marker, alpha=alpha, linewidths=0
        )


def marker_area(n: int) -> float:
    """Of a dot, one of n, in square points."""
    return float(np.clip(100_000 / n, 4, 60))


def low_discrepancy_order(n: int) -> np.ndarray:
    """(n,) an order of n things without a seed, any beginning of which is spread evenly over all (Weyl 1916)."""
    return (np.arange(n) * ((5**0.5 - 1) / 2) % 1).argsort()


def draw_marks(axes: Axes, points: np.ndarray, marks: Mapping[str, np.ndarray]) -> None:
    """The marks around their dots, small where there are many."""
    for name, mask in marks.items():
        size, look = MARK_STYLES[name]
        share = float(np.clip(500 / mask.sum(), 0.15, 1))
        x, down = points[mask].T
        axes.scatter(
            x,
            down,
            s=size * share + marker_area(len(points)),
            **look | {"linewidths": look["linewidths"] * share**0.5},
        )


def draw_mark_legend(axes: Axes, marks: Mapping[str, np.ndarray], x: float, y: float) -> None:
    """What the marks that there are mean, and how many, on each map, on one line around (x, y)."""
    counts = {
        name: list(dict.fromkeys(f"{mask.sum():,}" for mask in masks))
        for name, masks in marks.items()
    }
    texts = [f"{name} ({' and '.join(each)})" for name, each in counts.items()]
    widths = [64 + 9.3 * len(text) for text in texts]
    x -= sum(widths) / 2
    for name, text, width in zip(marks, texts, widths, strict=True):
        size, look = MARK_STYLES[name]
        axes.scatter(x + 24, y, s=size, **look)
        axes.text(x + 44, y, text, va="center", fontsize=12)
        x += width


def draw_class_names(
    axes: Axes,
    places: Mapping[int, tuple[float, float]],
    classes: Sequence[str],
    box: tuple[np.ndarray, np.ndarray],
) -> None:
    """Each class's name at its place or, where another one is there, as near as it fits, within a box of (left, top)
    and (right, bottom); a name that fits nowhere near is left out."""
    renderer = FigureCanvasAgg(axes.get_figure(root=True)).get_renderer()
    size = 17 if len(places) <= 12 else 10 if len(places) <= 50 else 6
    halo = [withStroke(linewidth=4.5, foreground="white")]
    taken = np.empty((0, 4))
    for k, place in places.items():
        style: dict[str, Any] = {
            "fontsize": size,
            "weight": "bold",
            "color": get_class_text_color(k),
            "path_effects": halo,
        }
        text = axes.text(
            *place, format_label(classes[k], 18), ha="center", va="center", zorder=9, **style
        )
        extent = text.get_window_extent(renderer)
        half = np.array([extent.width, extent.height]) / 2 + 2
        tried = place + LABEL_OFFSETS * size
        low, high = tried - half, tried + half
        fits = ((low >= box[0]) & (high <= box[1])).all(1)
        for other in taken:
            fits &= ((high <= other[:2]) | (low >= other[2:])).any(1)
        if not fits.any():
            text.remove()
            continue
        at = fits.argmax()
        text.set_position(tried[at])
        if np.hypot(*LABEL_OFFSETS[at]) > 1.5:
            axes.plot(
                *np.array([place, tried[at]]).T,
                color=get_class_text_color(k),
                linewidth=1,
                zorder=8,
            )
        taken = np.vstack([taken, [*low[at], *high[at]]])
