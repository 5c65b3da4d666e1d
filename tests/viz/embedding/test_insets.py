import numpy as np
import pytest
from matplotlib.figure import Figure

from cnnlab.viz.embedding import insets
from cnnlab.viz.embedding.insets import add_error_frame, describe_members, draw_image_map

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [60, 40, 20])
Y = np.array([[0, 0], [30, 0], [0, 30]])[LABELS] + RNG.uniform(-1, 1, (120, 2))
PICTURES = np.broadcast_to(
    np.array([60, 120, 180], np.uint8)[LABELS][:, None, None, None], (120, 8, 8, 1)
)
CLASSES = ("car", "bo$at", "a cat\nof a long name")
ORANGE = np.array([0xD5, 0x5E, 0x00])


def orange(image: np.ndarray) -> int:
    return int((abs(image.astype(int) - ORANGE).sum(-1) < 12).sum())


def test_what_is_said_of_a_place_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    draw = insets.render_figure
    monkeypatch.setattr(insets, "render_figure", lambda figure: kept.append(figure) or draw(figure))
    predictions = LABELS.copy()
    predictions[[0, 60, 61]] = 2, 0, 2
    right = draw_image_map(Y, PICTURES, LABELS, CLASSES, LABELS, title="t")
    wrong = draw_image_map(Y, PICTURES, LABELS, CLASSES, predictions, title="t")
    plain = draw_image_map(Y, PICTURES, LABELS, CLASSES, title="t", note="n")
    texts = [{text.get_text() for text in figure.axes[0].texts} for figure in kept]
    assert {"car: 60 of 60, 1 mistaken", r"bo\$at: 40 of 40, 2 mistaken"} <= texts[1]
    assert "car: 60 of 60, 0 mistaken" in texts[0] and {"car: 60 of 60", "1", "2", "3"} <= texts[2]
    assert orange(right) == orange(plain) == 0 < orange(wrong)
    assert any("Orange frames" in text for text in texts[1]) and not any(
        "Orange" in text for text in texts[2]
    )
    assert any("room for" in text for text in texts[2])


def test_a_place_is_shown_larger_with_its_pictures() -> None:
    """Every picture of a class has its grey, and an inset more of it than the map."""
    image = draw_image_map(Y, PICTURES, LABELS, CLASSES, title="t")
    for grey in (60, 120, 180):
        assert (image == grey).all(-1).sum() > 20 * 56**2 * 0.9
    assert image.shape[1] == 2020
    again = draw_image_map(Y.copy(), PICTURES, LABELS, CLASSES, title="t")
    assert np.array_equal(image, again)


def test_a_frame_is_half_around_its_picture() -> None:
    framed = add_error_frame(np.full((20, 30, 3), 7, np.uint8))
    assert framed.shape == (24, 34, 3) and (framed[4:-4, 4:-4] == 7).all()
    framed[4:-4, 4:-4] = ORANGE
    assert (framed == ORANGE).all()


def test_places_of_no_known_class_are_counted() -> None:
    assert (
        describe_members(np.full(3, -1), CLASSES, 0) == (-1, "3 pictures")
        and describe_members(np.array([-1]), CLASSES, None)[1] == "1 picture"
    )
    assert describe_members(np.array([-1, 1, 1]), CLASSES, None) == (1, r"bo\$at: 2 of 3")


@pytest.mark.parametrize(("y", "shape"), [
    (RNG.normal(size=(5, 2)), (8, 8, 1)),
    (np.zeros((70, 2)), (40, 60, 3)),
    (RNG.normal(size=(300, 2)) * [1, 0], (224, 224, 3)),
])  # fmt: skip
def test_any_map_is_drawn(y: np.ndarray, shape: tuple[int, int, int]) -> None:
    pictures = RNG.integers(0, 255, (len(y), *shape), np.uint8)
    image = draw_image_map(
        y, pictures, np.full(len(y), -1), (), title="no class is known $", note="$ " * 300
    )
    assert image.shape[1] == 2020 and len(np.unique(image)) > 20
