"""A map of pictures as points: (H, W, 3) uint8, a colour for each class and its name where most of it lies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from cnnlab.viz.base import GREY, label, rendered
from cnnlab.viz.embedding.layout import MARGIN, PALETTE, colour, densest, lines, page, placed, shade, tallness
from cnnlab.viz.image_grid import write

MARKERS = "o^sDvPX"  # of the first ten classes, of the next ten, and so on
STYLES: dict[str, tuple[float, dict[str, Any]]] = {
    "mistaken": (34, {"marker": "o", "facecolors": "none", "edgecolors": "#000000", "linewidths": 0.9}),
    "near-duplicate": (70, {"marker": "D", "facecolors": "none", "edgecolors": "#FF7F00", "linewidths": 1.8}),
    "your own": (420, {"marker": "*", "facecolors": "#FFE100", "edgecolors": "#000000", "linewidths": 1.2}),
}
# Where a name is tried, nearest first, in sizes of its letters.
SPIRAL = np.array([(r * np.cos(a), r * np.sin(a)) for r in np.arange(0, 10, 0.4) for a in np.arange(16) * np.pi / 8])


def scatter_figure(
    maps: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    mistaken: np.ndarray | None = None,
    ringed: np.ndarray | None = None,
    own: np.ndarray | None = None,
    title: str,
    note: str = "",
) -> np.ndarray:
    """{name: (N, 2) map of the same N pictures}, side by side, (N,) labels, -1 unknown -> (H, W, 3) uint8. (N,) bool
    each: `mistaken` pictures get a black ring, `ringed` ones (near-duplicates) an orange diamond, `own` ones a star;
    what differs from map to map, such as who mistakes which, as (maps, N)."""
    side = 1000 if len(maps) == 1 else max(500, 1680 // len(maps))
    width = len(maps) * (side + MARGIN) + MARGIN
    heads, feet = lines(title, width - 2 * MARGIN, 16), lines(note, width - 2 * MARGIN, 11)
    given = {"mistaken": mistaken, "near-duplicate": ringed, "your own": own}
    shape = len(maps), len(labels)
    marks = {name: np.broadcast_to(mask, shape) for name, mask in given.items() if mask is not None and mask.any()}
    top = 20 + 30 * len(heads) + (34 if len(maps) > 1 else 4)
    high = int(side * np.clip(max(tallness(y) for y in maps.values()), 0.5, 1))
    foot = top + high + 12
    figure, axes = page(width, foot + 34 * bool(marks) + 21 * len(feet) + 12)
    write(axes, width / 2, 16, heads, 16, step=30)
    for number, (name, y) in enumerate(maps.items()):
        corner = np.array([MARGIN + number * (side + MARGIN), top])
        if len(maps) > 1:
            axes.text(corner[0] + side / 2, top - 8, label(name, 48), ha="center", va="bottom", fontsize=13)
        axes.add_patch(Rectangle((corner[0], corner[1]), side, high, fill=False, edgecolor="#DDDDDD"))
        points = placed(y, side, high, 30) + corner
        dots(axes, points, labels)
        rings(axes, points, {kind: masks[number] for kind, masks in marks.items() if masks[number].any()})
        names(axes, densest(points, labels), classes, (corner, corner + np.array([side, high])))
    legend(axes, marks, width / 2, foot + 14)
    write(axes, MARGIN, foot + 34 * bool(marks), feet, 11, align="left", step=21, color=GREY)
    return rendered(figure)


def dots(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """A dot a picture, the smaller the more there are, in an order that lets no class lie on all others."""
    n = len(points)
    alpha = float(np.clip(6_000 / n, 0.4, 0.9))
    mixed = shuffled(n)
    colours = np.array([colour(k) for k in range(-1, int(labels.max()) + 1)])[labels + 1]
    for family in np.unique(labels // len(PALETTE)).tolist():
        some = mixed[labels[mixed] // len(PALETTE) == family]
        marker: Any = MARKERS[max(0, family) % len(MARKERS)]
        x, down = points[some].T
        axes.scatter(x, down, s=area(n), c=colours[some], marker=marker, alpha=alpha, linewidths=0)


def area(n: int) -> float:
    """Of a dot, one of n, in square points."""
    return float(np.clip(100_000 / n, 4, 60))


def shuffled(n: int) -> np.ndarray:
    """(n,) an order of n things without a seed, any beginning of which is spread evenly over all (Weyl 1916)."""
    return (np.arange(n) * ((5**0.5 - 1) / 2) % 1).argsort()


def rings(axes: Axes, points: np.ndarray, marks: Mapping[str, np.ndarray]) -> None:
    """The marks around their dots, small where there are many."""
    for name, mask in marks.items():
        size, look = STYLES[name]
        share = float(np.clip(500 / mask.sum(), 0.15, 1))
        x, down = points[mask].T
        axes.scatter(
            x, down, s=size * share + area(len(points)), **look | {"linewidths": look["linewidths"] * share**0.5}
        )


def legend(axes: Axes, marks: Mapping[str, np.ndarray], x: float, y: float) -> None:
    """What the marks that there are mean, and how many, on each map, on one line around (x, y)."""
    counts = {name: list(dict.fromkeys(f"{mask.sum():,}" for mask in masks)) for name, masks in marks.items()}
    texts = [f"{name} ({' and '.join(each)})" for name, each in counts.items()]
    widths = [64 + 9.3 * len(text) for text in texts]
    x -= sum(widths) / 2
    for name, text, width in zip(marks, texts, widths, strict=True):
        size, look = STYLES[name]
        axes.scatter(x + 24, y, s=size, **look)
        axes.text(x + 44, y, text, va="center", fontsize=12)
        x += width


def names(
    axes: Axes, places: Mapping[int, tuple[float, float]], classes: Sequence[str], box: tuple[np.ndarray, np.ndarray]
) -> None:
    """Each class's name at its place or, where another one is there, as near as it fits, within a box of (left, top)
    and (right, bottom); a name that fits nowhere near is left out."""
    renderer = FigureCanvasAgg(axes.get_figure(root=True)).get_renderer()
    size = 17 if len(places) <= 12 else 10 if len(places) <= 50 else 6
    halo = [withStroke(linewidth=4.5, foreground="white")]
    taken = np.empty((0, 4))
    for k, place in places.items():
        style: dict[str, Any] = {"fontsize": size, "weight": "bold", "color": shade(k), "path_effects": halo}
        text = axes.text(*place, label(classes[k], 18), ha="center", va="center", zorder=9, **style)
        extent = text.get_window_extent(renderer)
        half = np.array([extent.width, extent.height]) / 2 + 2
        tried = place + SPIRAL * size
        low, high = tried - half, tried + half
        fits = ((low >= box[0]) & (high <= box[1])).all(1)
        for other in taken:
            fits &= ((high <= other[:2]) | (low >= other[2:])).any(1)
        if not fits.any():
            text.remove()
            continue
        at = fits.argmax()
        text.set_position(tried[at])
        if np.hypot(*SPIRAL[at]) > 1.5:
            axes.plot(*np.array([place, tried[at]]).T, color=shade(k), linewidth=1, zorder=8)
        taken = np.vstack([taken, [*low[at], *high[at]]])
