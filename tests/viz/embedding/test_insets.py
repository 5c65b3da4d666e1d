import numpy as np
import pytest
from matplotlib.figure import Figure

from cnnlab.projection.grid_assignment import assign_to_cells
from cnnlab.viz.embedding import insets
from cnnlab.viz.embedding.insets import add_error_frame, describe_members, draw_image_map

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [60, 40, 20])
Y = np.array([[0, 0], [30, 0], [0, 30]])[LABELS] + RNG.uniform(-1, 1, (120, 2))
IMAGES = np.broadcast_to(
    np.array([60, 120, 180], np.uint8)[LABELS][:, None, None, None], (120, 8, 8, 1)
)
CLASSES = ("car", "bo$at", "a cat\nof a long name")
ORANGE = np.array([0xD5, 0x5E, 0x00])


def count_orange(image: np.ndarray) -> int:
    return int((abs(image.astype(int) - ORANGE).sum(-1) < 12).sum())


def test_headings_and_footnote_match_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    draw = insets.render_figure
    monkeypatch.setattr(
        insets, "render_figure", lambda figure: figures.append(figure) or draw(figure)
    )
    predictions = LABELS.copy()
    predictions[[0, 60, 61]] = 2, 0, 2
    without_errors = draw_image_map(
        Y, IMAGES, LABELS, CLASSES, LABELS, assign=assign_to_cells, title="t"
    )
    with_errors = draw_image_map(
        Y, IMAGES, LABELS, CLASSES, predictions, assign=assign_to_cells, title="t"
    )
    without_predictions = draw_image_map(
        Y, IMAGES, LABELS, CLASSES, assign=assign_to_cells, title="t", note="n"
    )
    texts = [{text.get_text() for text in figure.axes[0].texts} for figure in figures]
    assert {"car: 60 of 60, 1 misclassified", r"bo\$at: 40 of 40, 2 misclassified"} <= texts[1]
    assert (
        "car: 60 of 60, 0 misclassified" in texts[0]
        and {"car: 60 of 60", "1", "2", "3"} <= texts[2]
    )
    assert (
        count_orange(without_errors)
        == count_orange(without_predictions)
        == 0
        < count_orange(with_errors)
    )
    assert any("Orange frames" in text for text in texts[1]) and not any(
        "Orange" in text for text in texts[2]
    )
    assert any("The map shows" in text for text in texts[2])


def test_insets_enlarge_the_images() -> None:
    """All images of a class have one gray level."""
    image = draw_image_map(Y, IMAGES, LABELS, CLASSES, assign=assign_to_cells, title="t")
    for gray in (60, 120, 180):
        assert (image == gray).all(-1).sum() > 20 * 56**2 * 0.9
    assert image.shape[1] == 2020
    repeated = draw_image_map(Y.copy(), IMAGES, LABELS, CLASSES, assign=assign_to_cells, title="t")
    assert np.array_equal(image, repeated)


def test_error_frame_is_half_outside_the_image() -> None:
    framed = add_error_frame(np.full((20, 30, 3), 7, np.uint8))
    assert framed.shape == (24, 34, 3) and (framed[4:-4, 4:-4] == 7).all()
    framed[4:-4, 4:-4] = ORANGE
    assert (framed == ORANGE).all()


def test_unlabeled_members_are_counted() -> None:
    assert (
        describe_members(np.full(3, -1), CLASSES, 0) == (-1, "3 images")
        and describe_members(np.array([-1]), CLASSES, None)[1] == "1 image"
    )
    assert describe_members(np.array([-1, 1, 1]), CLASSES, None) == (1, r"bo\$at: 2 of 3")


@pytest.mark.parametrize(
    ("y", "shape"),
    [
        (RNG.normal(size=(5, 2)), (8, 8, 1)),
        (np.zeros((70, 2)), (40, 60, 3)),
        (RNG.normal(size=(300, 2)) * [1, 0], (224, 224, 3)),
    ],
)
def test_degenerate_maps_are_drawn(y: np.ndarray, shape: tuple[int, int, int]) -> None:
    images = RNG.integers(0, 255, (len(y), *shape), np.uint8)
    image = draw_image_map(
        y,
        images,
        np.full(len(y), -1),
        (),
        assign=assign_to_cells,
        title="no class is known $",
        note="$ " * 300,
    )
    assert image.shape[1] == 2020 and len(np.unique(image)) > 20
