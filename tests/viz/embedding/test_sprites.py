import numpy as np
import pytest
from PIL import Image

from cnnlab.viz.embedding.sprites import make_projector_sprite, make_sprite_sheets

RNG = np.random.default_rng(0)


def make_images(n: int, height: int, width: int, channels: int) -> np.ndarray:
    return RNG.integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def crop_square(sheet: np.ndarray, square: int, number: int) -> np.ndarray:
    """Return the square with a number, counted row by row, of a sheet."""
    row, column = divmod(number, sheet.shape[1] // square)
    return sheet[row * square : (row + 1) * square, column * square : (column + 1) * square]


def downscale(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_lossless_on_full_sheets(channels: int) -> None:
    images = make_images(23, 8, 8, channels)
    sheets = make_sprite_sheets(images, thumbnail_side=64, sheet_side=30)  # three by three on each
    assert [sheet.shape[:2] for sheet in sheets] == [(24, 24), (24, 24), (16, 24)]
    for i, image in enumerate(images):
        assert (crop_square(sheets[i // 9], 8, i % 9).reshape(8, 8, channels) == image).all()
    assert (crop_square(sheets[2], 8, 5) == 255).all()


def test_large_images_are_shrunk_like_pillow() -> None:
    images = make_images(5, 40, 40, 3)
    (sheet,) = make_sprite_sheets(images, thumbnail_side=16, sheet_side=48)
    assert all(
        (crop_square(sheet, 16, i) == downscale(image, 16)).all() for i, image in enumerate(images)
    )


def test_padding_keeps_the_aspect_ratio() -> None:
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


def test_too_small_sheet_raises_value_error() -> None:
    with pytest.raises(ValueError, match="a thumbnail of 8 pixels does not fit on a sheet of 7"):
        make_sprite_sheets(make_images(1, 8, 8, 1), thumbnail_side=64, sheet_side=7)


@pytest.mark.parametrize(("n", "tile"), [(1, 10), (10, 10), (26, 6)])
def test_projector_sprite_is_one_square_sheet(n: int, tile: int) -> None:
    images = make_images(n, 10, 10, 3)
    sheet, width = make_projector_sprite(images, sheet_side=40)
    columns = int(np.ceil(np.sqrt(n)))
    assert (
        width == tile
        and sheet.shape[1] == columns * tile
        and sheet.shape[0] <= sheet.shape[1] <= 40
    )
    assert (
        crop_square(sheet, tile, n - 1)
        == (images[-1] if tile == 10 else downscale(images[-1], tile))
    ).all()
