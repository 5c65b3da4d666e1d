from itertools import combinations

import numpy as np
import pytest

from cnnlab.viz.embedding.inset_layout import (
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

RNG = np.random.default_rng(0)
NONE = np.zeros(2000, bool)


def do_overlap(first: MapWindow, second: MapWindow) -> bool:
    return bool((abs(first.corner - second.corner) < first.width).all())


def test_windows_do_not_overlap_and_list_their_members() -> None:
    points, labels = RNG.uniform(0, 1, (2000, 2)) * MAP_SIZE, RNG.integers(-1, 3, 2000)
    windows = find_windows(points, labels, NONE, 12)
    assert len(windows) == 12
    assert not any(do_overlap(*pair) for pair in combinations(windows, 2))
    for window in windows:
        inside = ((points >= window.corner) & (points < window.corner + window.width)).all(1)
        assert np.array_equal(np.flatnonzero(inside), window.members)
        assert (window.corner >= 0).all() and (
            window.corner + window.width < MAP_SIZE + window.width
        ).all()


def test_every_class_has_a_window_before_one_has_two() -> None:
    """The third class has few images, and one of them all lies in no cluster."""
    labels = np.repeat([0, 1, 2], [1500, 450, 50])
    points = np.array([[200, 200], [700, 300], [400, 800]])[labels] + RNG.normal(0, 30, (2000, 2))
    windows = find_windows(points, labels, NONE, 5)
    assert {int(np.bincount(labels[window.members]).argmax()) for window in windows[:3]} == {
        0,
        1,
        2,
    }
    assert len(windows[0].members) > len(windows[1].members) > len(windows[2].members) > 10
    assert all(0 in labels[window.members] for window in windows[3:])


def test_window_with_most_errors_is_first() -> None:
    points, labels = RNG.uniform(0, 1, (2000, 2)) * MAP_SIZE, np.zeros(2000, int)
    is_misclassified = (abs(points - (300, 600)) < 20).all(1)
    first, *_ = find_windows(points, labels, is_misclassified, 8)
    assert (
        is_misclassified.sum() > 0
        and is_misclassified[first.members].sum() == is_misclassified.sum()
    )


@pytest.mark.parametrize("n", [1, 5, 60_000])
def test_coincident_images_have_one_window(n: int) -> None:
    (window,) = find_windows(np.full((n, 2), 500.0), np.zeros(n, int), np.zeros(n, bool), 8)
    assert len(window.members) == n


@pytest.mark.parametrize(
    ("count", "num_slots", "first"), [(1, 4, 0), (4, 4, 0), (5, 8, 0), (8, 8, 0), (12, 12, 1)]
)
def test_inset_slots_surround_the_map(count: int, num_slots: int, first: int) -> None:
    slots, row = list_inset_slots(count)
    assert len(slots) == num_slots and row == first
    assert not any(x in (1, 2) and y in (row, row + 1) for x, y in slots.tolist())


def test_connectors_have_their_own_insets_and_avoid_windows() -> None:
    """Of two points, one above the other, the upper one has a connector beside the lower one."""
    slots, first = list_inset_slots(8)
    corners, origin = (
        np.array([INSET_GAP, INSET_HEADER_HEIGHT]) + slots * (INSET_SIDE + INSET_GAP, INSET_PITCH),
        np.array([INSET_SIDE + 2 * INSET_GAP, first * INSET_PITCH]),
    )
    windows = [MapWindow(np.array([410.0, y]), 160, np.arange(3)) for y in (620.0, 850.0)]
    assigned, ends = assign_insets(windows, corners, origin)
    assert len(np.unique(assigned, axis=0)) == 2
    assert ((ends >= assigned - (0, INSET_HEADER_HEIGHT)) & (ends <= assigned + INSET_SIDE)).all()
    start = origin + windows[0].corner + 80
    along = start + np.linspace(0, 1, 200)[:, None] * (ends[0] - start) - origin - windows[1].corner
    assert not ((along > 0) & (along < 160)).all(1).any()
