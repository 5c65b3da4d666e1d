"""Which places of a map are worth enlarging, and where around it the enlargements go."""

from dataclasses import dataclass

import numpy as np

INSET_SIDE, INSET_GAP, INSET_HEADER_HEIGHT = 480, 20, 40  # pixels: an inset's, beside it, above it
INSET_PITCH = INSET_SIDE + INSET_HEADER_HEIGHT + 10  # from a row of insets to the next
IMAGE_MAP_WIDTH = 4 * (INSET_SIDE + INSET_GAP) + INSET_GAP
MAP_SIZE = np.array(
    [2 * INSET_SIDE + INSET_GAP, 2 * INSET_PITCH - 10]
)  # in the middle two columns of two rows
STEPS_PER_WINDOW = 6  # along a window, by which it is moved to find its place
MIN_WINDOW_IMAGES = 3  # pictures below which a place needs no window
EXPECTED_WINDOW_IMAGES = 14  # pictures that a window should, were they spread evenly


@dataclass(frozen=True)
class MapWindow:
    """A square of the map: its left top corner and its width in pixels, and the pictures in it."""

    corner: np.ndarray
    width: float
    members: np.ndarray


def find_windows(
    places: np.ndarray, labels: np.ndarray, wrong: np.ndarray, most: int
) -> list[MapWindow]:
    """(N, 2) pixels of the map, (N,) labels and (N,) mistaken ones -> squares of it that do not overlap: where most are
    mistaken; where each class is densest, the densest class first; then where most of all pictures are."""
    width = MAP_SIZE[0] * np.clip((EXPECTED_WINDOW_IMAGES / len(places)) ** 0.5, 1 / 17, 1 / 4)
    step = float(width) / STEPS_PER_WINDOW
    mesh, room = (places / step).astype(int), (MAP_SIZE / step).astype(int) + 1
    classes = np.array([count_window_members(mesh[labels == k], room) for k in np.unique(labels)])
    everything = classes.sum(0)
    found: list[MapWindow] = []

    def take(counts: np.ndarray, least: float) -> bool:
        """The free place of the highest count, if there is one of at least so many."""
        free = np.ones(counts.shape, bool)
        for x, y in (window.corner / step for window in found):
            free[
                max(0, int(y) - STEPS_PER_WINDOW) : int(y) + STEPS_PER_WINDOW + 2,
                max(0, int(x) - STEPS_PER_WINDOW) : int(x) + STEPS_PER_WINDOW + 2,
            ] = False
        y, x = divmod(int(np.where(free, counts, -1).argmax()), counts.shape[1])
        if len(found) == most or not free[y, x] or counts[y, x] < least:
            return False
        window = make_window(places, np.array([x, y]) * step, float(width))
        inside = places[window.members]
        corner = ((inside.min(0) + inside.max(0) - width) / 2).clip(0, MAP_SIZE - width)
        apart = all((abs(corner - other.corner) > width).any() for other in found)
        found.append(make_window(places, corner, float(width)) if apart else window)
        return True

    take(count_window_members(mesh[wrong], room), MIN_WINDOW_IMAGES)
    tops = classes.max((1, 2))
    for k in (-tops).argsort(kind="stable"):
        take(classes[k], max(MIN_WINDOW_IMAGES, tops[k] / 2))
    while take(everything, min(MIN_WINDOW_IMAGES, everything.max())):
        pass
    return found


def count_window_members(mesh: np.ndarray, room: np.ndarray) -> np.ndarray:
    """(N, 2) steps across and down, of so many -> how many of them a window has that begins at a row and a column."""
    counts = np.zeros(room[::-1])
    np.add.at(counts, (mesh[:, 1], mesh[:, 0]), 1)
    across, down = (
        np.tri(n - STEPS_PER_WINDOW + 1, n, STEPS_PER_WINDOW - 1)
        - np.tri(n - STEPS_PER_WINDOW + 1, n, -1)
        for n in room.tolist()
    )
    return down @ counts @ across.T


def make_window(places: np.ndarray, corner: np.ndarray, width: float) -> MapWindow:
    """The square at that corner, with what is in it."""
    return MapWindow(
        corner, width, np.flatnonzero(((places >= corner) & (places < corner + width)).all(1))
    )


def list_inset_slots(count: int) -> tuple[np.ndarray, int]:
    """So many insets, at least, around a map -> (M, 2) column and row of each, and the map's first row."""
    rows = 2 + (count > 4) + (count > 8)
    first = int(rows == 4)
    free = [
        (x, y) for y in range(rows) for x in range(4) if x in (0, 3) or y not in (first, first + 1)
    ]
    return np.array(free), first


def assign_insets(
    found: list[MapWindow], corners: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """n windows, (M, 2) corners of insets, M >= n, and the map's -> (n, 2) the corner of each window's inset and (n, 2)
    where a line to it ends, such that the lines are short and none, if it can be helped, crosses another window."""
    from scipy.optimize import linear_sum_assignment

    middles = np.array([origin + window.corner + window.width / 2 for window in found])
    begin, end = middles[:, None], compute_connector_ends(middles, corners, origin)
    along = begin + np.linspace(0, 1, 100)[:, None, None, None] * (end - begin)
    crossed = (abs(along[:, :, :, None] - middles) < found[0].width * 0.7).all(-1).any(0).sum(-1)
    each, given = linear_sum_assignment(np.linalg.norm(end - begin, axis=2) + crossed * MAP_SIZE[0])
    return corners[given], end[each, given]


def compute_connector_ends(
    middles: np.ndarray, corners: np.ndarray, origin: np.ndarray
) -> np.ndarray:
    """(n, 2) places on the page, (M, 2) insets' corners and the map's -> (n, M, 2) where a line from each place meets
    each inset: near the middle of the side towards the map, or at the corner."""
    found = middles[:, None].clip(corners + INSET_SIDE / 5, corners + INSET_SIDE * 4 / 5)
    found = np.where(corners >= origin + MAP_SIZE, corners - (0, INSET_HEADER_HEIGHT), found)
    return np.where(corners + INSET_SIDE <= origin, corners + INSET_SIDE, found)
