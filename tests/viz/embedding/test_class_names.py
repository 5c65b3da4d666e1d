import numpy as np
import pytest
from matplotlib.text import Text

from cnnlab.viz.embedding.class_names import (
    MAX_COVERED,
    choose_place,
    draw_class_names,
    measure_covered,
    sum_class_shares,
)
from cnnlab.viz.embedding.layout import find_class_density_peaks, make_pixel_figure, map_to_pixels

RNG = np.random.default_rng(0)
SIDE = 1000
BOX = np.zeros(2), np.full(2, float(SIDE))


def draw(y: np.ndarray, labels: np.ndarray) -> tuple[list[Text], np.ndarray, int]:
    """Draw the names; return their texts, (K, 4) extents in pixels from the top left, and how many
    are left out."""
    _, axes = make_pixel_figure(SIDE, SIDE)
    points = map_to_pixels(y, SIDE, SIDE, 30)
    classes = [f"class number {k:03d}" for k in range(labels.max() + 1)]
    peaks = find_class_density_peaks(points, labels)
    omitted = draw_class_names(axes, peaks, classes, points, labels, BOX)
    boxes = [text.get_window_extent() for text in axes.texts]
    extents = [[box.x0, SIDE - box.y1, box.x1, SIDE - box.y0] for box in boxes]
    return list(axes.texts), np.array(extents), omitted


def find_covered(points: np.ndarray, extents: np.ndarray) -> np.ndarray:
    """Return (N,) bool: which points are behind a name."""
    inside = (points[:, None] > extents[:, :2]) & (points[:, None] < extents[:, 2:])
    return inside.all(2).any(1)


def test_names_do_not_hide_two_tight_clusters() -> None:
    labels = np.repeat([0, 1], 100)
    y = np.array([[0, 0], [100, 0.0]])[labels] + RNG.normal(0, 0.3, (200, 2))
    texts, extents, omitted = draw(y, labels)
    covered = find_covered(map_to_pixels(y, SIDE, SIDE, 30), extents)
    assert len(texts) == 2 and omitted == 0
    assert max(covered[labels == k].mean() for k in (0, 1)) <= MAX_COVERED


def test_names_of_200_classes_do_not_bury_the_points() -> None:
    labels = np.repeat(np.arange(200), 20)
    y = RNG.uniform(-50, 50, (200, 2))[labels] + RNG.normal(0, 1.5, (4000, 2))
    texts, extents, omitted = draw(y, labels)
    assert len(texts) + omitted == 200 and len(texts) > 150
    assert find_covered(map_to_pixels(y, SIDE, SIDE, 30), extents).mean() < 0.15


def test_the_name_of_a_large_class_does_not_hide_a_class_of_one_image() -> None:
    labels = np.array([0] * 1000 + [1])
    y = np.vstack([RNG.normal(0, 10, (1000, 2)), [[0, 0]]])
    _, extents, omitted = draw(y, labels)
    assert omitted == 0
    assert not find_covered(map_to_pixels(y, SIDE, SIDE, 30), extents)[-1]


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (np.array([[0.0, 0], [1, 0], [0, 1]]), np.array([0, 1, 2])),
        (np.zeros((50, 2)), np.arange(50) % 5),
        (np.zeros((5, 2)), np.zeros(5, int)),
        (RNG.normal(size=(9, 2)), np.array([0] * 8 + [1])),
    ],
)
def test_few_or_identical_points_have_their_names(y: np.ndarray, labels: np.ndarray) -> None:
    texts, extents, omitted = draw(y, labels)
    assert len(texts) == len(np.unique(labels)) and omitted == 0
    assert extents.min() >= 0 and extents.max() <= SIDE


def test_covered_share_matches_a_count() -> None:
    points, labels = RNG.uniform(0, SIDE, (300, 2)), np.repeat([0, 1, -1], [200, 60, 40])
    places = np.array([[100.0, 200, 700, 260], [0, 0, 1000, 1000], [5, 5, 5, 5]])
    covered = measure_covered(sum_class_shares(points, labels, BOX), places, BOX)
    inside = (points >= places[0, :2]).all(1) & (points < places[0, 2:]).all(1)
    shares = np.repeat([1 / 200, 1 / 60, 1 / 40], [200, 60, 40])
    assert covered == pytest.approx([shares[inside].sum(), 3, 0], abs=1e-5)


def test_place_is_the_nearest_that_covers_little() -> None:
    covered = np.array([1, np.inf, MAX_COVERED, 0])
    assert choose_place(covered, must_choose=False) == 2
    assert choose_place(np.array([1, 0.5, np.inf]), must_choose=True) == 1
    assert choose_place(np.array([1, 0.5, np.inf]), must_choose=False) is None
    assert choose_place(np.array([np.inf]), must_choose=True) is None
