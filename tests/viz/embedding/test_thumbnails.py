import numpy as np
import pytest

from cnnlab.viz.embedding.thumbnails import (
    choose_thumbnail_side,
    draw_embedding_grid,
    make_thumbnail,
    render_snapped_thumbnails,
)

RNG = np.random.default_rng(0)


def find_rectangle(image: np.ndarray, color: np.ndarray) -> tuple[slice, slice] | None:
    """Return the rows and columns of all pixels of a color, None unless they fill a rectangle."""
    y, x = np.nonzero((image == color).all(-1))
    if not len(y) or len(y) != (np.ptp(y) + 1) * (np.ptp(x) + 1):
        return None
    return slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)


@pytest.mark.parametrize(
    ("side", "channels", "drawn_side"), [(8, 1, 472), (28, 3, 504), (300, 3, 600), (900, 3, 532)]
)
def test_each_image_is_in_its_cell(side: int, channels: int, drawn_side: int) -> None:
    """Three columns, rows counted upward; small images are enlarged by whole factors."""
    cells = np.array([[0, 0], [2, 0], [1, 2], [0, 1]])
    images = np.broadcast_to(
        np.array([30, 90, 180, 220], np.uint8)[:, None, None, None], (4, side, side, channels)
    )
    image = draw_embedding_grid(cells, images, "t")
    places = [find_rectangle(image, source[0, 0]) for source in images]
    assert all(places) and {s.stop - s.start for place in places for s in place} == {drawn_side}
    left, top = zip(*((place[1].start, place[0].start) for place in places), strict=True)
    assert left[0] == left[3] < left[2] < left[1] and top[2] < top[3] < top[0] == top[1]
    assert (
        top[0] - top[3]
        == top[3] - top[2]
        == left[2] - left[0]
        <= drawn_side + drawn_side // min(side, drawn_side)
    )


def test_grid_contains_the_images_pixels() -> None:
    images = RNG.integers(0, 255, (1600, 28, 28, 1), np.uint8)
    cells = RNG.permutation(np.stack(np.meshgrid(range(40), range(40)), -1).reshape(-1, 2))
    image = draw_embedding_grid(cells, images, "t", "a note")
    windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (28, 28))
    for i in (0, 777, 1599):
        y, x = np.nonzero(windows[..., 5, 5] == images[i, 5, 5, 0])
        same = (windows[y, x] == images[i, ..., 0]).all((1, 2))
        assert same.sum() == 1
    assert 1100 < image.shape[1] < 1800


def test_two_images_in_one_cell_raise_value_error() -> None:
    with pytest.raises(ValueError, match="two images in one cell"):
        draw_embedding_grid(np.zeros((2, 2), int), np.zeros((2, 8, 8, 1), np.uint8), "t")


def test_thumbnails_are_enlarged_by_integer_factors() -> None:
    source = RNG.integers(0, 255, (8, 6, 1), np.uint8)
    enlarged = make_thumbnail(source, 24)
    assert enlarged.shape == (24, 18, 3) and np.array_equal(enlarged[1::3, 1::3, :1], source)
    stripes = np.tile(np.array([0, 255], np.uint8), (100, 50))[..., None]
    assert (
        make_thumbnail(stripes, 25).shape == (25, 25, 3)
        and np.ptp(make_thumbnail(stripes, 25)[5:-5, 5:-5].astype(int)) < 30
    )
    assert [choose_thumbnail_side(longest, 40) for longest in (8, 28, 32, 49, 224)] == [
        40,
        28,
        32,
        49,
        40,
    ]


def test_nearest_image_of_a_cell_is_drawn() -> None:
    images = np.array([10, 20, 30, 40], np.uint8)[:, None, None, None] * np.ones(
        (4, 8, 8, 3), np.uint8
    )
    places = np.array([[4.0, 4.0], [6.0, 6.0], [80.0, 13.0], [500.0, 13.0]])
    image, count = render_snapped_thumbnails(places, images, 99, 27, 8)
    assert image.shape == (27, 99, 3) and count == 3
    assert [find_rectangle(image, np.full(3, value)) is None for value in (10, 20, 30, 40)] == [
        False,
        True,
        False,
        False,
    ]
    down, across = find_rectangle(image, np.full(3, 30))
    assert (
        abs((down.start + down.stop) / 2 - 13) <= 5
        and abs((across.start + across.stop) / 2 - 80) <= 5
    )
