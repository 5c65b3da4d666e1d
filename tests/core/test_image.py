from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import (
    convert_to_gray_or_rgb,
    make_image_grid,
    read_image,
    resize_center_crop,
    save_png,
)
from tests.small_images import make_row


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_any_8_bit_mode_becomes_gray_or_rgb(mode: str) -> None:
    image = Image.new("L", (3, 2), 7).convert("P" if mode == "PA" else mode).convert(mode)
    assert convert_to_gray_or_rgb(image).mode in ("L", "RGB")


def test_transparency_is_white() -> None:
    image = make_row((9, 9, 9, 0), (0, 100, 200, 51), (9, 9, 9, 255), mode="RGBA")
    expected = [[[255, 255, 255], [204, 224, 244], [9, 9, 9]]]
    assert np.asarray(convert_to_gray_or_rgb(image)).tolist() == expected


def test_an_alpha_that_was_never_filled_is_ignored() -> None:
    image = Image.new("RGBA", (1, 1), (9, 8, 7, 0))  # 32-bit TGA files hold it
    assert convert_to_gray_or_rgb(image).getpixel((0, 0)) == (9, 8, 7)


@pytest.mark.parametrize("size", [(5000, 6), (6, 5000), (5001, 7)])
def test_a_thin_image_is_cropped_without_resizing_all_of_it(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    whole = np.asarray(resize_center_crop(Image.fromarray(pixels), 32), int)
    monkeypatch.setattr("cnnlab.core.image.MAX_RESIZED_PIXELS", 0)
    assert np.abs(np.asarray(resize_center_crop(Image.fromarray(pixels), 32)) - whole).max() <= 1


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
        ("absent.png", "no file"),
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
