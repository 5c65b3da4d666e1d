"""A map of pictures drawn with the pictures themselves, and around it pieces of it enlarged: the chapter's figure
5-19."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
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

MAP_THUMBNAIL_SIDES = (28, 64)  # pixels of a picture on the map, for many and for few
INSET_THUMBNAIL_SIDES = (60, 120)  # and in an inset
REPEATED_CLASS_COLOR = "#000000"  # of a second place of the same class


def render_inset(
    window: MapWindow, places: np.ndarray, pictures: np.ndarray, wrong: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A window's pictures on a lattice, moved as little as can be, as many as it has cells, a frame around what is
    mistaken -> (SIDE, SIDE, 3), and which they are."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    longest = max(pictures.shape[1:3])
    each = choose_thumbnail_side(
        longest + 1,
        float(
            np.clip(INSET_SIDE / np.ceil(len(window.members) ** 0.5) - 5, *INSET_THUMBNAIL_SIDES)
        ),
    )
    side = each - max(1, each // (longest + 1))
    cells = INSET_SIDE // (side + max(4, each - side))
    lattice = (np.stack(np.meshgrid(range(cells), range(cells)), -1).reshape(-1, 2) + 0.5) * (
        INSET_SIDE / cells
    )
    at = (places[window.members] - window.corner) * (INSET_SIDE / window.width)
    rows, cell = linear_sum_assignment(cdist(at, lattice, "sqeuclidean"))
    shown = window.members[rows]
    canvas = np.full((INSET_SIDE, INSET_SIDE, 3), 255, np.uint8)
    for i, middle in zip(shown.tolist(), lattice[cell], strict=True):
        picture = make_thumbnail(pictures[i], side)
        picture = add_error_frame(picture) if wrong[i] else picture
        left, top = (middle - np.array(picture.shape[1::-1]) / 2).astype(int).tolist()
        paste_image(canvas, picture, left, top)
    return canvas, shown


def add_error_frame(picture: np.ndarray) -> np.ndarray:
    """An orange frame of four pixels, half of them around the picture."""
    color = [int(channel * 255 + 0.5) for channel in to_rgb(ORANGE)]
    high, wide = picture.shape[:2]
    found = np.full((high + 4, wide + 4, 3), color, np.uint8)
    paste_image(found, picture[2:-2, 2:-2], 4, 4)
    return found


def describe_members(
    own: np.ndarray, classes: Sequence[str], mistaken: int | None
) -> tuple[int, str]:
    """The labels of a place's pictures and how many are mistaken -> the class that most are of, -1 where none is
    known, and what to say of them."""
    if own.max() < 0:
        return -1, f"{len(own):,} picture{'s' * (len(own) > 1)}"
    k = int(np.bincount(own[own >= 0]).argmax())
    text = f"{format_label(classes[k])}: {(own == k).sum():,} of {len(own):,}"
    return k, text if mistaken is None else f"{text}, {mistaken:,} mistaken"


def draw_image_map(
    y: np.ndarray,
    pictures: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    predictions: np.ndarray | None = None,
    *,
    title: str,
    note: str = "",
    max_insets: int = 12,
) -> np.ndarray:
    """(N, 2) map, (N, H, W, C) uint8, (N,) labels and (N,) predictions -> (H', W', 3): the map, of as many pictures as
    do not cover each other, and around it at most `most` (12) dense places of it, enlarged. Label -1: unknown."""
    width, height = MAP_SIZE.tolist()
    places = map_to_pixels(y, width, height, MAP_THUMBNAIL_SIDES[1] / 2)
    wrong = (
        np.zeros(len(y), bool) if predictions is None else (predictions != labels) & (labels >= 0)
    )
    found = find_windows(places, labels, wrong, max_insets)
    drawn = [render_inset(window, places, pictures, wrong) for window in found]
    side = choose_thumbnail_side(
        max(pictures.shape[1:3]), float(np.clip(width / len(y) ** 0.5, *MAP_THUMBNAIL_SIDES))
    )
    centre, count = render_snapped_thumbnails(places, pictures, width, height, side)
    heads = wrap_to_width(title, IMAGE_MAP_WIDTH - 2 * INSET_GAP, 26)
    feet = wrap_to_width(
        format_map_footnote(note, (count, len(y)), found, [shown for _, shown in drawn], wrong),
        IMAGE_MAP_WIDTH - 2 * INSET_GAP,
        17,
    )
    spots, first = list_inset_slots(len(found))
    top = 30 + 50 * len(heads)
    foot = top + (int(spots[:, 1].max()) + 1) * INSET_PITCH + 8
    figure, axes = make_pixel_figure(IMAGE_MAP_WIDTH, foot + 33 * len(feet) + 12)
    write_text_lines(axes, IMAGE_MAP_WIDTH / 2, 20, heads, 26, line_height=50)
    write_text_lines(axes, INSET_GAP, foot, feet, 17, align="left", line_height=33, color=GRAY)
    origin = np.array([INSET_SIDE + 2 * INSET_GAP, top + first * INSET_PITCH])
    draw_at_pixels(axes, centre, origin)
    corners, lands = assign_insets(
        found,
        np.array([INSET_GAP, top + INSET_HEADER_HEIGHT])
        + spots * (INSET_SIDE + INSET_GAP, INSET_PITCH),
        origin,
    )
    colours: list[str] = []
    alike = len(np.unique(labels)) == 1
    for number, at in enumerate(np.lexsort(corners.T).tolist(), start=1):
        members = found[at].members
        mistaken = None if predictions is None else int(wrong[members].sum())
        k, text = describe_members(labels[members], classes, mistaken)
        color = CLASS_PALETTE[number % len(CLASS_PALETTE)] if alike or k < 0 else get_class_color(k)
        colours.append(REPEATED_CLASS_COLOR if color in colours else color)
        draw_at_pixels(axes, drawn[at][0], corners[at])
        draw_inset_connector(axes, found[at], origin, corners[at], lands[at], colours[-1])
        draw_inset_number(axes, f"{number}", origin + found[at].corner, corners[at], colours[-1])
        axes.text(
            corners[at][0] + 20 + 14 * len(f"{number}"),
            corners[at][1] - 9,
            text,
            va="bottom",
            fontsize=15.5,
        )
    return render_figure(figure)


def format_map_footnote(
    note: str,
    counts: tuple[int, int],
    found: Sequence[MapWindow],
    shown: Sequence[np.ndarray],
    wrong: np.ndarray,
) -> str:
    """A note, and what has to be said of the map, which shows so many of so many pictures, and of the insets."""
    notes = [note] * bool(note)
    if any(wrong[some].any() for some in shown):
        notes.append("Orange frames: mistaken.")
    if counts[0] < counts[1]:
        notes.append(f"The map has room for {counts[0]:,} of {counts[1]:,} pictures.")
    if any(len(some) < len(window.members) for window, some in zip(found, shown, strict=True)):
        notes.append(f"An inset has room for {max(map(len, shown))} of a place's.")
    return " ".join(notes)


def draw_at_pixels(axes: Axes, image: np.ndarray, corner: np.ndarray) -> None:
    """An image at its place on the page, a pixel for a pixel."""
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
    """A window's outline on the map, its inset's, and a line between the two."""
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
    axes: Axes, number: str, place: np.ndarray, corner: np.ndarray, color: str
) -> None:
    """A window's number at its place on the map, and above its inset."""
    ink = "black" if np.dot(to_rgb(color), (0.3, 0.59, 0.11)) > 0.5 else "white"
    box = {"boxstyle": "square,pad=0.2", "facecolor": color, "edgecolor": "white", "linewidth": 1}
    style: dict[str, Any] = {
        "va": "bottom",
        "weight": "bold",
        "color": ink,
        "bbox": box,
        "zorder": 5,
    }
    axes.text(place[0], place[1], number, ha="right", fontsize=13, **style)
    axes.text(corner[0] + 5, corner[1] - 10, number, ha="left", fontsize=15, **style)
