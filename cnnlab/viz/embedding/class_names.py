"""Write each class's name on a map, where it hides few points and no other name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke

from cnnlab.viz.base import format_label
from cnnlab.viz.embedding.layout import get_class_text_color
from cnnlab.viz.fonts import set_fallback_fonts

MAX_NAME_LETTERS = 18
MAX_COVERED = 0.25  # of a class, by one name
MARKER_MARGIN = np.array([-5, -5, 5, 5])  # pixels of a point around its center, at each side
MAX_ALWAYS_NAMED = 12  # classes of which none is left out, whatever its name covers
# Candidate positions of a class name, nearest first, in font sizes.
LABEL_OFFSETS = np.array(
    [
        (r * np.cos(a), r * np.sin(a))
        for r in np.arange(0, 10, 0.4)
        for a in np.arange(16) * np.pi / 8
    ]
)
PanelBox = tuple[np.ndarray, np.ndarray]
"""(left, top) and (right, bottom) of a panel, in pixels."""


def draw_class_names(
    axes: Axes,
    positions: Mapping[int, tuple[float, float]],
    classes: Sequence[str],
    points: np.ndarray,
    labels: np.ndarray,
    box: PanelBox,
) -> int:
    """Draw each class's name at its position, or as near as it overlaps no other name and hides few
    of the (N, 2) points; return how many are left out because no place near is free."""
    renderer = FigureCanvasAgg(axes.get_figure(root=True)).get_renderer()
    size = 17 if len(positions) <= MAX_ALWAYS_NAMED else 10 if len(positions) <= 50 else 6
    sums = sum_class_shares(points, labels, box)
    placed, omitted = np.empty((0, 4)), 0
    for k, position in positions.items():
        style: dict[str, Any] = {
            "fontsize": size,
            "weight": "bold",
            "color": get_class_text_color(k),
            "path_effects": [withStroke(linewidth=4.5, foreground="white")],
        }
        name = format_label(classes[k], MAX_NAME_LETTERS)
        text = axes.text(*position, name, ha="center", va="center", zorder=9, **style)
        set_fallback_fonts([text])
        extent = text.get_window_extent(renderer)
        half_size = np.array([extent.width, extent.height]) / 2 + 2
        candidates = position + LABEL_OFFSETS * size
        places = np.hstack([candidates - half_size, candidates + half_size])
        fits = is_inside(places, box) & is_free(places, placed)
        shares = measure_covered(sums, places + MARKER_MARGIN, box)
        covered = np.where(fits, shares, np.inf)
        chosen = choose_place(covered, must_choose=len(positions) <= MAX_ALWAYS_NAMED)
        if chosen is None:
            text.remove()
            omitted += 1
            continue
        text.set_position(candidates[chosen])
        if np.hypot(*LABEL_OFFSETS[chosen]) > 1.5:
            line = np.array([position, candidates[chosen]]).T
            axes.plot(*line, color=get_class_text_color(k), linewidth=1, zorder=8)
        placed = np.vstack([placed, places[chosen]])
    return omitted


def choose_place(covered: np.ndarray, *, must_choose: bool) -> int | None:
    """Return the first place that covers little, else, where one must be chosen, the one that
    covers least; None for none. `covered`: (M,), infinite where a name does not fit."""
    chosen = int((covered <= MAX_COVERED).argmax())
    if covered[chosen] > MAX_COVERED:
        chosen = int(covered.argmin())
    is_chosen = covered[chosen] <= MAX_COVERED or (must_choose and np.isfinite(covered[chosen]))
    return chosen if is_chosen else None


def is_inside(places: np.ndarray, box: PanelBox) -> np.ndarray:
    """Return (M,) bool: which of (M, 4) places, left, top, right and bottom, are in a panel."""
    inside = np.hstack([places[:, :2] >= box[0], places[:, 2:] <= box[1]])
    return np.asarray(np.all(inside, axis=1))


def is_free(places: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Return (M,) bool: which of (M, 4) places overlap none of (P, 4) others."""
    low, high = places[:, None, :2], places[:, None, 2:]
    apart = np.concatenate([high <= placed[:, :2], low >= placed[:, 2:]], axis=2)
    return np.asarray(np.all(np.any(apart, axis=2), axis=1))


def sum_class_shares(points: np.ndarray, labels: np.ndarray, box: PanelBox) -> np.ndarray:
    """Return (H + 1, W + 1) the sums, over the pixels of a panel above and left of each corner, of
    the points' shares of their classes: of 20 points of a class, each is 1/20."""
    width, height = np.ceil(box[1] - box[0]).astype(int)
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    x, y = (points - box[0]).astype(int).clip(0, (width - 1, height - 1)).T
    sums = np.zeros((height + 1, width + 1))
    np.add.at(sums, (y + 1, x + 1), 1 / sizes[inverse])
    return np.asarray(sums.cumsum(0).cumsum(1))


def measure_covered(sums: np.ndarray, places: np.ndarray, box: PanelBox) -> np.ndarray:
    """Return (M,) how much of a class each of (M, 4) places covers, of several classes in sum."""
    corners = (places - np.tile(box[0], 2)).round().astype(int)
    height, width = sums.shape
    left, top, right, bottom = corners.clip(0, np.tile((width - 1, height - 1), 2)).T
    covered = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return np.asarray(covered.round(6))
