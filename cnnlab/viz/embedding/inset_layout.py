"""Which places of a map are worth enlarging, and where around it the enlargements go."""

from dataclasses import dataclass

import numpy as np

SIDE, GAP, HEAD = 480, 20, 40  # pixels: an inset's, beside it, above it
PITCH = SIDE + HEAD + 10  # from a row of insets to the next
WIDTH = 4 * (SIDE + GAP) + GAP
MAP = np.array([2 * SIDE + GAP, 2 * PITCH - 10])  # in the middle two columns of two rows
STEPS = 6  # along a window, by which it is moved to find its place
FEW = 3  # pictures below which a place needs no window
HOLDS = 14  # pictures that a window should, were they spread evenly


@dataclass(frozen=True)
class Window:
    """A square of the map: its left top corner and its width in pixels, and the pictures in it."""

    corner: np.ndarray
    width: float
    members: np.ndarray


def windows(places: np.ndarray, labels: np.ndarray, wrong: np.ndarray, most: int) -> list[Window]:
    """(N, 2) pixels of the map, (N,) labels and (N,) mistaken ones -> squares of it that do not overlap: where most are
    mistaken; where each class is densest, the densest class first; then where most of all pictures are."""
    width = MAP[0] * np.clip((HOLDS / len(places)) ** 0.5, 1 / 17, 1 / 4)
    step = float(width) / STEPS
    mesh, room = (places / step).astype(int), (MAP / step).astype(int) + 1
    classes = np.array([held(mesh[labels == k], room) for k in np.unique(labels)])
    everything = classes.sum(0)
    found: list[Window] = []

    def take(counts: np.ndarray, least: float) -> bool:
        """The free place of the highest count, if there is one of at least so many."""
        free = np.ones(counts.shape, bool)
        for x, y in (window.corner / step for window in found):
            free[max(0, int(y) - STEPS) : int(y) + STEPS + 2, max(0, int(x) - STEPS) : int(x) + STEPS + 2] = False
        y, x = divmod(int(np.where(free, counts, -1).argmax()), counts.shape[1])
        if len(found) == most or not free[y, x] or counts[y, x] < least:
            return False
        window = within(places, np.array([x, y]) * step, float(width))
        inside = places[window.members]
        corner = ((inside.min(0) + inside.max(0) - width) / 2).clip(0, MAP - width)
        apart = all((abs(corner - other.corner) > width).any() for other in found)
        found.append(within(places, corner, float(width)) if apart else window)
        return True

    take(held(mesh[wrong], room), FEW)
    tops = classes.max((1, 2))
    for k in (-tops).argsort(kind="stable"):
        take(classes[k], max(FEW, tops[k] / 2))
    while take(everything, min(FEW, everything.max())):
        pass
    return found


def held(mesh: np.ndarray, room: np.ndarray) -> np.ndarray:
    """(N, 2) steps across and down, of so many -> how many of them a window has that begins at a row and a column."""
    counts = np.zeros(room[::-1])
    np.add.at(counts, (mesh[:, 1], mesh[:, 0]), 1)
    across, down = (np.tri(n - STEPS + 1, n, STEPS - 1) - np.tri(n - STEPS + 1, n, -1) for n in room.tolist())
    return down @ counts @ across.T


def within(places: np.ndarray, corner: np.ndarray, width: float) -> Window:
    """The square at that corner, with what is in it."""
    return Window(corner, width, np.flatnonzero(((places >= corner) & (places < corner + width)).all(1)))


def slots(count: int) -> tuple[np.ndarray, int]:
    """So many insets, at least, around a map -> (M, 2) column and row of each, and the map's first row."""
    rows = 2 + (count > 4) + (count > 8)
    first = int(rows == 4)
    free = [(x, y) for y in range(rows) for x in range(4) if x in (0, 3) or y not in (first, first + 1)]
    return np.array(free), first


def matched(found: list[Window], corners: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """n windows, (M, 2) corners of insets, M >= n, and the map's -> (n, 2) the corner of each window's inset and (n, 2)
    where a line to it ends, such that the lines are short and none, if it can be helped, crosses another window."""
    from scipy.optimize import linear_sum_assignment

    middles = np.array([origin + window.corner + window.width / 2 for window in found])
    begin, end = middles[:, None], ends(middles, corners, origin)
    along = begin + np.linspace(0, 1, 100)[:, None, None, None] * (end - begin)
    crossed = (abs(along[:, :, :, None] - middles) < found[0].width * 0.7).all(-1).any(0).sum(-1)
    each, given = linear_sum_assignment(np.linalg.norm(end - begin, axis=2) + crossed * MAP[0])
    return corners[given], end[each, given]


def ends(middles: np.ndarray, corners: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """(n, 2) places on the page, (M, 2) insets' corners and the map's -> (n, M, 2) where a line from each place meets
    each inset: near the middle of the side towards the map, or at the corner."""
    found = middles[:, None].clip(corners + SIDE / 5, corners + SIDE * 4 / 5)
    found = np.where(corners >= origin + MAP, corners - (0, HEAD), found)
    return np.where(corners + SIDE <= origin, corners + SIDE, found)
