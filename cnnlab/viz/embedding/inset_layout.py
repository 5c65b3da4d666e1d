"""Choose the windows of a map that are enlarged, and arrange their insets around it."""

from dataclasses import dataclass

import numpy as np

INSET_SIDE, INSET_GAP, INSET_HEADER_HEIGHT = 480, 20, 40  # pixels
INSET_PITCH = INSET_SIDE + INSET_HEADER_HEIGHT + 10  # from a row of insets to the next
IMAGE_MAP_WIDTH = 4 * (INSET_SIDE + INSET_GAP) + INSET_GAP
# The map fills the middle two columns of two rows.
MAP_SIZE = np.array([2 * INSET_SIDE + INSET_GAP, 2 * INSET_PITCH - 10])
STEPS_PER_WINDOW = 6  # candidate positions along a window's side
MIN_WINDOW_IMAGES = 3
EXPECTED_WINDOW_IMAGES = 14  # in a window, if images were spread evenly


@dataclass(frozen=True)
class MapWindow:
    """A square of the map: its top left corner and width in pixels, and its images' indices."""

    corner: np.ndarray
    width: float
    members: np.ndarray


def find_windows(
    points: np.ndarray, labels: np.ndarray, is_error: np.ndarray, max_windows: int
) -> list[MapWindow]:
    """Return windows of the map that do not overlap.

    The first is where most errors are; then where each class is densest, the densest class first;
    then where most images are. `points`: (N, 2) pixels; `labels`, `is_error`: (N,).
    """
    width = MAP_SIZE[0] * np.clip((EXPECTED_WINDOW_IMAGES / len(points)) ** 0.5, 1 / 17, 1 / 4)
    step = float(width) / STEPS_PER_WINDOW
    bins, size = (points / step).astype(int), (MAP_SIZE / step).astype(int) + 1
    classes = np.array([count_window_members(bins[labels == k], size) for k in np.unique(labels)])
    all_counts = classes.sum(0)
    windows: list[MapWindow] = []

    def add_window(counts: np.ndarray, min_count: float) -> bool:
        """Add the free window with the highest count, if that is at least `min_count`."""
        if len(windows) == max_windows:
            return False
        position = find_free_maximum(counts, windows, step)
        if position is None or counts[position[::-1]] < min_count:
            return False
        window = make_window(points, np.array(position) * step, float(width))
        centered = center_window(points, window)
        is_apart = all((abs(centered.corner - other.corner) > width).any() for other in windows)
        windows.append(centered if is_apart else window)
        return True

    add_window(count_window_members(bins[is_error], size), MIN_WINDOW_IMAGES)
    peaks = classes.max((1, 2))
    for k in (-peaks).argsort(kind="stable"):
        add_window(classes[k], max(MIN_WINDOW_IMAGES, peaks[k] / 2))
    while add_window(all_counts, min(MIN_WINDOW_IMAGES, all_counts.max())):
        pass
    return windows


def find_free_maximum(
    counts: np.ndarray, windows: list[MapWindow], step: float
) -> tuple[int, int] | None:
    """Return x and y, in steps, of the highest count whose window overlaps no other; or None."""
    is_free = np.ones(counts.shape, bool)
    for x, y in (window.corner / step for window in windows):
        is_free[
            max(0, int(y) - STEPS_PER_WINDOW) : int(y) + STEPS_PER_WINDOW + 2,
            max(0, int(x) - STEPS_PER_WINDOW) : int(x) + STEPS_PER_WINDOW + 2,
        ] = False
    y, x = divmod(int(np.where(is_free, counts, -1).argmax()), counts.shape[1])
    return (x, y) if is_free[y, x] else None


def count_window_members(bins: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return how many points a window at each row and column contains.

    `bins`: (N, 2) steps across and down; `size`: how many there are.
    """
    counts = np.zeros(size[::-1])
    np.add.at(counts, (bins[:, 1], bins[:, 0]), 1)
    across, down = (
        np.tri(n - STEPS_PER_WINDOW + 1, n, STEPS_PER_WINDOW - 1)
        - np.tri(n - STEPS_PER_WINDOW + 1, n, -1)
        for n in size.tolist()
    )
    return down @ counts @ across.T


def make_window(points: np.ndarray, corner: np.ndarray, width: float) -> MapWindow:
    """Return the window at a corner, with its members."""
    is_member = ((points >= corner) & (points < corner + width)).all(1)
    return MapWindow(corner, width, np.flatnonzero(is_member))


def center_window(points: np.ndarray, window: MapWindow) -> MapWindow:
    """Return a window moved so that its members are in the center."""
    members = points[window.members]
    corner = ((members.min(0) + members.max(0) - window.width) / 2).clip(0, MAP_SIZE - window.width)
    return make_window(points, corner, window.width)


def list_inset_slots(count: int) -> tuple[np.ndarray, int]:
    """Return (M, 2) column and row of at least `count` slots, and the map's first row."""
    rows = 2 + (count > 4) + (count > 8)
    first = int(rows == 4)
    slots = [
        (x, y) for y in range(rows) for x in range(4) if x in (0, 3) or y not in (first, first + 1)
    ]
    return np.array(slots), first


def assign_insets(
    windows: list[MapWindow], corners: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 2) the inset's corner of each window, and (n, 2) the end of its connector.

    Connectors are short and, where possible, cross no other window. `corners`: (M, 2) of the
    insets, M >= n; `origin`: the map's corner.
    """
    from scipy.optimize import linear_sum_assignment

    centers = np.array([origin + window.corner + window.width / 2 for window in windows])
    start, end = centers[:, None], compute_connector_ends(centers, corners, origin)
    line = start + np.linspace(0, 1, 100)[:, None, None, None] * (end - start)
    is_inside = (abs(line[:, :, :, None] - centers) < windows[0].width * 0.7).all(-1)
    crossings = is_inside.any(0).sum(-1)
    cost = np.linalg.norm(end - start, axis=2) + crossings * MAP_SIZE[0]
    rows, slots = linear_sum_assignment(cost)
    return corners[slots], end[rows, slots]


def compute_connector_ends(
    centers: np.ndarray, corners: np.ndarray, origin: np.ndarray
) -> np.ndarray:
    """Return (n, M, 2) where a connector from each window's center meets each inset.

    That is near the middle of the side that faces the map, or at the corner. `centers`: (n, 2);
    `corners`: (M, 2) of the insets; `origin`: the map's corner.
    """
    ends = centers[:, None].clip(corners + INSET_SIDE / 5, corners + INSET_SIDE * 4 / 5)
    ends = np.where(corners >= origin + MAP_SIZE, corners - (0, INSET_HEADER_HEIGHT), ends)
    return np.where(corners + INSET_SIDE <= origin, corners + INSET_SIDE, ends)
