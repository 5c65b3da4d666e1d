from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import convert_to_gray_or_rgb, make_image_grid, read_image, save_png


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"]
)
def test_any_mode_becomes_gray_or_rgb(mode: str) -> None:
    image = Image.new(mode, (3, 2)) if mode == "I;16" else Image.new("L", (3, 2), 7).convert(mode)
    assert convert_to_gray_or_rgb(image).mode in ("L", "RGB")


def test_sixteen_bits_are_scaled_and_transparency_is_white() -> None:
    deep = Image.fromarray(np.array([[0, 65535]], dtype=np.uint16))
    assert np.asarray(convert_to_gray_or_rgb(deep)).tolist() == [[0, 255]]
    assert convert_to_gray_or_rgb(Image.new("RGBA", (1, 1), (9, 9, 9, 0))).getpixel((0, 0)) == (
        255,
        255,
        255,
    )


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.new("RGB", (4, 2)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").size == (2, 4)


def test_a_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "whole.png"
    save_png(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "text.png").write_text("no")
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:2000])
    Image.open(path).save(tmp_path / "icon.ico")  # Pillow decodes it before its size is known
    for name, message in (
        ("absent.png", "no image"),
        ("text.png", "not an image"),
        ("icon.ico", "not an image"),
        ("cut.png", "cannot be read"),
    ):
        with pytest.raises(CnnlabError, match=f"{message}.*|.*{name}.*{message}") as error:
            read_image(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(CnnlabError, match="4,096 pixels; the limit is 4,095"):
        read_image(path, max_pixels=64 * 64 - 1)


def test_png_round_trip(tmp_path: Path) -> None:
    for shape in ((5, 7), (5, 7, 3)):
        pixels = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
        save_png(tmp_path / "x.png", pixels)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), pixels)


def test_grid_is_in_reading_order() -> None:
    images = np.stack([np.full((2, 3, 1), value, np.uint8) for value in (10, 20, 30)])
    sheet = make_image_grid(images, 2, gap=1, background=0)
    assert sheet.shape == (7, 9)
    assert [sheet[1, 1], sheet[1, 5], sheet[4, 1], sheet[4, 5]] == [10, 20, 30, 0]
    assert make_image_grid(images, 2, zoom=2).shape == (11, 15)
