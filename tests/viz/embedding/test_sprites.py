import numpy as np
import pytest
from PIL import Image

from cnnlab.viz.embedding.sprites import make_projector_sprite, make_sprite_sheets

RNG = np.random.default_rng(0)


def some(n: int, height: int, width: int, channels: int) -> np.ndarray:
    return RNG.integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def cut(sheet: np.ndarray, square: int, at: int) -> np.ndarray:
    """The square in that place, row by row, on a sheet of them."""
    row, column = divmod(at, sheet.shape[1] // square)
    return sheet[row * square : (row + 1) * square, column * square : (column + 1) * square]


def smaller(picture: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_lie_on_full_sheets_pixel_for_pixel(channels: int) -> None:
    pictures = some(23, 8, 8, channels)
    sheets = make_sprite_sheets(
        pictures, thumbnail_side=64, sheet_side=30
    )  # three by three on each
    assert [sheet.shape[:2] for sheet in sheets] == [(24, 24), (24, 24), (16, 24)]
    for i, picture in enumerate(pictures):
        assert (cut(sheets[i // 9], 8, i % 9).reshape(8, 8, channels) == picture).all()
    assert (cut(sheets[2], 8, 5) == 255).all()


def test_large_pictures_are_shrunk_as_pillow_shrinks_them() -> None:
    pictures = some(5, 40, 40, 3)
    (sheet,) = make_sprite_sheets(pictures, thumbnail_side=16, sheet_side=48)
    assert all(
        (cut(sheet, 16, i) == smaller(picture, 16)).all() for i, picture in enumerate(pictures)
    )


def test_what_is_not_square_keeps_its_shape_between_white() -> None:
    (sheet,) = make_sprite_sheets(
        np.zeros((1, 20, 40, 1), np.uint8), thumbnail_side=32, sheet_side=32
    )
    dark = np.argwhere(sheet == 0)
    assert (
        sheet.shape == (32, 32)
        and dark.min(0).tolist() == [8, 0]
        and dark.max(0).tolist() == [23, 31]
    )
    (upright,) = make_sprite_sheets(
        np.zeros((1, 40, 3, 3), np.uint8), thumbnail_side=4, sheet_side=32
    )
    assert (upright == 0).all((0, 2)).tolist() == [
        False,
        True,
        False,
        False,
    ]  # never less than a pixel wide


def test_a_sheet_too_small_for_one_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="no square of 8 pixels fits a sheet of 7"):
        make_sprite_sheets(some(1, 8, 8, 1), thumbnail_side=64, sheet_side=7)


@pytest.mark.parametrize(("n", "tile"), [(1, 10), (10, 10), (26, 6)])
def test_a_sprite_is_one_sheet_with_as_many_columns_as_rows_at_most(n: int, tile: int) -> None:
    pictures = some(n, 10, 10, 3)
    sheet, width = make_projector_sprite(pictures, sheet_side=40)
    columns = int(np.ceil(np.sqrt(n)))
    assert (
        width == tile
        and sheet.shape[1] == columns * tile
        and sheet.shape[0] <= sheet.shape[1] <= 40
    )
    assert (
        cut(sheet, tile, n - 1) == (pictures[-1] if tile == 10 else smaller(pictures[-1], tile))
    ).all()
