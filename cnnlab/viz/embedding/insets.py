"""Draw a map with its images, surrounded by enlarged insets of it: the chapter's figure 5-19."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from cnnlab.viz.base import GRAY, ORANGE, format_label, render_figure
from cnnlab.viz.embedding.inset_layout import (
    IMAGE_MAP_WIDTH,
    INSET_GAP,
    INSET_HEADER_HEIGHT,
    INSET_PITCH,
    INSET_SIDE,
    MAP_SIZE,
    MapWindow,
    assign_insets,
    find_windows,
    list_inset_slots,
)
from cnnlab.viz.embedding.layout import (
    CLASS_PALETTE,
    get_class_color,
    make_pixel_figure,
    map_to_pixels,
    wrap_to_width,
)
from cnnlab.viz.embedding.thumbnails import (
    choose_thumbnail_side,
    make_thumbnail,
    paste_image,
    render_snapped_thumbnails,
)
from cnnlab.viz.image_grid import write_text_lines

MAP_THUMBNAIL_SIDES = (28, 64)  # pixels on the map, for many images and for few
INSET_THUMBNAIL_SIDES = (60, 120)  # in an inset
REPEATED_CLASS_COLOR = "#000000"  # of a second inset of the same class
CellAssignment = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(N, 2) points and (M, 2) cells -> the indices of the assigned points and of their cells."""


def render_inset(
    window: MapWindow,
    points: np.ndarray,
    images: np.ndarray,
    is_error: np.ndarray,
    assign: CellAssignment,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (INSET_SIDE, INSET_SIDE, 3) with a window's images on a grid, and their indices.

    There are as many as the grid has cells; misclassified images are framed.
    """
    longest = max(images.shape[1:3])
    target_side = INSET_SIDE / np.ceil(len(window.members) ** 0.5) - 5
    pitch = choose_thumbnail_side(longest + 1, float(np.clip(target_side, *INSET_THUMBNAIL_SIDES)))
    side = pitch - max(1, pitch // (longest + 1))
    cells = make_inset_grid(INSET_SIDE // (side + max(4, pitch - side)))
    positions = (points[window.members] - window.corner) * (INSET_SIDE / window.width)
    rows, assigned = assign(positions, cells)
    shown_indices = window.members[rows]
    canvas = np.full((INSET_SIDE, INSET_SIDE, 3), 255, np.uint8)
    for i, center in zip(shown_indices.tolist(), cells[assigned], strict=True):
        image = make_thumbnail(images[i], side)
        image = add_error_frame(image) if is_error[i] else image
        left, top = (center - np.array(image.shape[1::-1]) / 2).astype(int).tolist()
        paste_image(canvas, image, left, top)
    return canvas, shown_indices


def make_inset_grid(count: int) -> np.ndarray:
    """Return (count * count, 2) centers of an inset's cells, in pixels."""
    cells = np.stack(np.meshgrid(range(count), range(count)), -1).reshape(-1, 2)
    return (cells + 0.5) * (INSET_SIDE / count)


def add_error_frame(image: np.ndarray) -> np.ndarray:
    """Return an image with an orange frame of four pixels, two of them outside the image."""
    color = [int(channel * 255 + 0.5) for channel in to_rgb(ORANGE)]
    height, width = image.shape[:2]
    framed = np.full((height + 4, width + 4, 3), color, np.uint8)
    paste_image(framed, image[2:-2, 2:-2], 4, 4)
    return framed


def describe_members(
    labels: np.ndarray, classes: Sequence[str], errors: int | None
) -> tuple[int, str]:
    """Return the most frequent class of a window's images, -1 if unknown, and a heading."""
    if labels.max() < 0:
        return -1, f"{len(labels):,} image{'s' * (len(labels) > 1)}"
    k = int(np.bincount(labels[labels >= 0]).argmax())
    text = f"{format_label(classes[k])}: {(labels == k).sum():,} of {len(labels):,}"
    return k, text if errors is None else f"{text}, {errors:,} misclassified"


def draw_image_map(
    y: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    predictions: np.ndarray | None = None,
    *,
    assign: CellAssignment,
    title: str,
    note: str = "",
    max_insets: int = 12,
) -> np.ndarray:
    """Return (H', W', 3) uint8: a map of as many images as fit without overlap, and insets.

    `y`: (N, 2) map; `images`: (N, H, W, C) uint8; `labels`: (N,), -1 unknown; `predictions`: (N,).
    Insets enlarge dense windows of the map, at most `max_insets`.
    """
    width, height = MAP_SIZE.tolist()
    points = map_to_pixels(y, width, height, MAP_THUMBNAIL_SIDES[1] / 2)
    is_error = np.zeros(len(y), bool)
    if predictions is not None:
        is_error = (predictions != labels) & (labels >= 0)
    windows = find_windows(points, labels, is_error, max_insets)
    insets = [render_inset(window, points, images, is_error, assign) for window in windows]
    target_side = float(np.clip(width / len(y) ** 0.5, *MAP_THUMBNAIL_SIDES))
    side = choose_thumbnail_side(max(images.shape[1:3]), target_side)
    center, count = render_snapped_thumbnails(points, images, width, height, side)
    footnote = format_map_footnote(
        note, (count, len(y)), windows, [shown_indices for _, shown_indices in insets], is_error
    )
    slots, first_row = list_inset_slots(len(windows))
    figure, axes, top = make_map_page(title, footnote, int(slots[:, 1].max()) + 1)
    origin = np.array([INSET_SIDE + 2 * INSET_GAP, top + first_row * INSET_PITCH])
    draw_at_pixels(axes, center, origin)
    first_corner = np.array([INSET_GAP, top + INSET_HEADER_HEIGHT])
    corners, ends = assign_insets(
        windows, first_corner + slots * (INSET_SIDE + INSET_GAP, INSET_PITCH), origin
    )
    has_one_label, colors = len(np.unique(labels)) == 1, list[str]()
    for number, at in enumerate(np.lexsort(corners.T).tolist(), start=1):
        members = windows[at].members
        errors = None if predictions is None else int(is_error[members].sum())
        k, heading = describe_members(labels[members], classes, errors)
        colors.append(choose_inset_color(number, -1 if has_one_label else k, colors))
        draw_at_pixels(axes, insets[at][0], corners[at])
        draw_inset_connector(axes, windows[at], origin, corners[at], ends[at], colors[-1])
        draw_inset_number(axes, f"{number}", origin + windows[at].corner, corners[at], colors[-1])
        x, bottom = corners[at][0] + 20 + 14 * len(f"{number}"), corners[at][1] - 9
        axes.text(x, bottom, heading, va="bottom", fontsize=15.5)
    return render_figure(figure)


def make_map_page(title: str, footnote: str, rows: int) -> tuple[Figure, Axes, int]:
    """Return a figure with a title and a footnote, and the top of its rows of insets in pixels."""
    text_width = IMAGE_MAP_WIDTH - 2 * INSET_GAP
    title_lines = wrap_to_width(title, text_width, 26)
    note_lines = wrap_to_width(footnote, text_width, 17)
    top = 30 + 50 * len(title_lines)
    bottom = top + rows * INSET_PITCH + 8
    figure, axes = make_pixel_figure(IMAGE_MAP_WIDTH, bottom + 33 * len(note_lines) + 12)
    write_text_lines(axes, IMAGE_MAP_WIDTH / 2, 20, title_lines, 26, line_height=50)
    write_text_lines(
        axes, INSET_GAP, bottom, note_lines, 17, align="left", line_height=33, color=GRAY
    )
    return figure, axes, top


def choose_inset_color(number: int, k: int, used: Sequence[str]) -> str:
    """Return the color of a class, or of an inset's number where k < 0; black if it is used."""
    color = CLASS_PALETTE[number % len(CLASS_PALETTE)] if k < 0 else get_class_color(k)
    return REPEATED_CLASS_COLOR if color in used else color


def format_map_footnote(
    note: str,
    counts: tuple[int, int],
    windows: Sequence[MapWindow],
    shown_indices: Sequence[np.ndarray],
    is_error: np.ndarray,
) -> str:
    """Return the footnote: the note, frames, and how many images the map and the insets show.

    `counts`: images on the map, and in all; `shown_indices`: the indices of each inset's images.
    """
    notes = [note] * bool(note)
    if any(is_error[indices].any() for indices in shown_indices):
        notes.append("Orange frames: misclassified.")
    if counts[0] < counts[1]:
        notes.append(f"The map shows {counts[0]:,} of {counts[1]:,} images.")
    pairs = zip(windows, shown_indices, strict=True)
    if any(len(indices) < len(window.members) for window, indices in pairs):
        notes.append(f"An inset shows at most {max(map(len, shown_indices))} images of its window.")
    return " ".join(notes)


def draw_at_pixels(axes: Axes, image: np.ndarray, corner: np.ndarray) -> None:
    """Draw an image at its corner on the page, without scaling."""
    left, top = corner.tolist()
    extent = (left, left + image.shape[1], top + image.shape[0], top)
    axes.imshow(image, extent=extent, interpolation="nearest", aspect="auto")


def draw_inset_connector(
    axes: Axes,
    window: MapWindow,
    origin: np.ndarray,
    corner: np.ndarray,
    end: np.ndarray,
    color: str,
) -> None:
    """Draw the outlines of a window and its inset, and a line between them."""
    low, high = origin + window.corner, origin + window.corner + window.width
    begin = end.clip(low, high)
    halo = [withStroke(linewidth=6, foreground="white")]
    axes.plot(*np.array([begin, end]).T, color=color, linewidth=2.2, path_effects=halo)
    for (x, y), width in ((low, window.width), (corner, INSET_SIDE)):
        axes.add_patch(
            Rectangle(
                (x, y), width, width, fill=False, edgecolor=color, linewidth=3, path_effects=halo
            )
        )


def draw_inset_number(
    axes: Axes, number: str, position: np.ndarray, corner: np.ndarray, color: str
) -> None:
    """Draw a window's number on the map and above its inset."""
    ink = "black" if np.dot(to_rgb(color), (0.3, 0.59, 0.11)) > 0.5 else "white"
    box = {"boxstyle": "square,pad=0.2", "facecolor": color, "edgecolor": "white", "linewidth": 1}
    style: dict[str, Any] = {
        "va": "bottom",
        "weight": "bold",
        "color": ink,
        "bbox": box,
        "zorder": 5,
    }
    axes.text(position[0], position[1], number, ha="right", fontsize=13, **style)
    axes.text(corner[0] + 5, corner[1] - 10, number, ha="left", fontsize=15, **style)
