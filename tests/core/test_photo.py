import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.errors import CnnlabError
from cnnlab.core.photo import composite_on_white, read_photo
from tests.handmade_image_files import (
    png,
    tiff,
)
from tests.small_images import make_row, read_row, save_image, write_file

RNG = np.random.default_rng(0)
UPRIGHT = np.kron(
    RNG.integers(0, 256, (2, 3, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)
)  # (32, 48, 3)
# What a file holds of UPRIGHT: EXIF 2.3 says where its first row and first column belong.
STORED = {
    1: UPRIGHT,  # top, left
    2: UPRIGHT[:, ::-1],  # top, right
    3: UPRIGHT[::-1, ::-1],  # bottom, right
    4: UPRIGHT[::-1],  # bottom, left
    5: UPRIGHT.swapaxes(0, 1),  # left, top
    6: UPRIGHT.swapaxes(0, 1)[::-1],  # right, top
    7: UPRIGHT.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: UPRIGHT.swapaxes(0, 1)[:, ::-1],  # left, bottom
}


@pytest.mark.parametrize("ending", [".png", ".webp", ".tiff", ".jpg"])
@pytest.mark.parametrize("orientation", STORED)
def test_photos_are_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}.get(
        ending, {}
    )
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    photo = read_photo(save_image(tmp_path / f"x{ending}", image, exif=exif, **options))
    assert np.abs(np.asarray(photo.rgb).astype(int) - UPRIGHT).max() <= (
        2 if ending == ".jpg" else 0
    )
    assert photo.notes == () and photo.alpha is None


def test_alpha_is_rotated_with_the_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = save_image(
        tmp_path / "x.png", make_row((9, 9, 9, 255), (9, 9, 9, 7), mode="RGBA"), exif=exif
    )
    assert np.asarray(read_photo(path).alpha).tolist() == [[255], [7]]


def test_a_damaged_exif_is_ignored(tmp_path: Path) -> None:
    path = save_image(tmp_path / "x.png", Image.fromarray(UPRIGHT), exif=b"Exif\0\0no such thing")
    photo = read_photo(path)
    assert np.array_equal(photo.rgb, UPRIGHT)
    assert photo.notes == ("x.png: its EXIF cannot be read; its orientation is ignored",)


def test_orientation_survives_other_damaged_tags(tmp_path: Path) -> None:
    """Pillow reads it, and fails where it writes it anew."""
    entries = struct.pack(">HHHIHH", 2, 274, 3, 1, 6, 0) + struct.pack(
        ">HHI4s", 282, 2, 5, bytes([0, 0, 0, 38])
    )
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + entries + bytes(4) + b"a\xff\0b\0"
    assert read_photo(
        save_image(tmp_path / "x.png", make_row((1, 2, 3), (4, 5, 6)), exif=exif)
    ).rgb.size == (
        1,
        2,
    )


@pytest.mark.parametrize("ending", [".png", ".tiff", ".webp"])
def test_alpha_is_separate_and_hidden_pixels_are_white(tmp_path: Path, ending: str) -> None:
    image = make_row((10, 20, 30, 255), (10, 20, 30, 1), (10, 20, 30, 0), mode="RGBA")
    options = {"lossless": True, "exact": True} if ending == ".webp" else {}
    colors = read_row(save_image(tmp_path / f"x{ending}", image, **options))
    assert colors == ([[10, 20, 30], [10, 20, 30], [255, 255, 255]], [255, 1, 0])


def test_every_kind_of_transparency(tmp_path: Path) -> None:
    gray = make_row((50, 255), (60, 128), (70, 0), mode="LA")
    assert read_row(save_image(tmp_path / "la.png", gray)) == (
        [[50] * 3, [60] * 3, [255] * 3],
        [255, 128, 0],
    )
    three = make_row((10, 20, 30), (40, 50, 60), (70, 80, 90))
    palette = three.quantize(3)
    at = [palette.getpixel((x, 0)) for x in range(3)]
    alphas = bytes({at[0]: 255, at[1]: 128, at[2]: 0}[i] for i in range(3))
    expected = [[10, 20, 30], [40, 50, 60], [255, 255, 255]]
    assert read_row(save_image(tmp_path / "p.png", palette, transparency=alphas)) == (
        expected,
        [255, 128, 0],
    )
    assert read_row(save_image(tmp_path / "p.gif", palette, transparency=at[2])) == (
        expected,
        [255, 255, 0],
    )
    assert read_row(save_image(tmp_path / "rgb.png", three, transparency=(70, 80, 90))) == (
        expected,
        [255, 255, 0],
    )
    assert read_row(save_image(tmp_path / "l.png", make_row(5, 6, mode="L"), transparency=6)) == (
        [[5] * 3, [255] * 3],
        [255, 0],
    )
    path = save_image(tmp_path / "1.png", make_row(0, 255, mode="1"), transparency=0)
    assert read_row(path) == ([[255] * 3, [255] * 3], [0, 255])


@pytest.mark.parametrize("ending", [".png", ".tga"])
@pytest.mark.parametrize("value", [255, 0])
def test_a_constant_alpha_is_none(tmp_path: Path, value: int, ending: str) -> None:
    path = save_image(
        tmp_path / f"x{ending}", make_row((1, 2, 3, value), (4, 5, 6, value), mode="RGBA")
    )
    assert read_row(path) == ([[1, 2, 3], [4, 5, 6]], None)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    values = [0, 257, 128 * 257, 200 * 257, 65535, 128 * 257]
    eight = [[0, 1, 128], [200, 255, 128]]
    assert read_row(
        write_file(tmp_path / "rgb.png", png(2, 16, 2, struct.pack(">6H", *values)))
    ) == (
        eight,
        None,
    )
    four = [*values[:3], 257 * 9, *values[3:], 65535]
    rgba = write_file(tmp_path / "rgba.png", png(2, 16, 6, struct.pack(">8H", *four)))
    assert read_row(rgba) == (eight, [9, 255])
    assert read_row(write_file(tmp_path / "rgb.tif", tiff(np.array(values).reshape(1, 2, 3)))) == (
        eight,
        None,
    )
    assert read_row(write_file(tmp_path / "rgba.tif", tiff(np.array(four).reshape(1, 2, 4)))) == (
        eight,
        [9, 255],
    )
    gray = struct.pack(">3H", 0, 257 * 130, 65535)
    assert read_row(write_file(tmp_path / "l.png", png(3, 16, 0, gray))) == (
        [[0] * 3, [130] * 3, [255] * 3],
        None,
    )
    keyed = write_file(
        tmp_path / "key.png", png(3, 16, 0, gray, (b"tRNS", struct.pack(">H", 257 * 130)))
    )
    assert read_row(keyed) == ([[0] * 3, [255] * 3, [255] * 3], [255, 0, 255])
    path = write_file(
        tmp_path / "la.png", png(2, 16, 4, struct.pack(">4H", 257 * 7, 65535, 257 * 8, 257 * 99))
    )
    assert read_row(path) == ([[7] * 3, [8] * 3], [255, 99])
    floats = Image.fromarray(np.array([[0, 0.5, 1]], np.float32))
    assert read_row(save_image(tmp_path / "f.tif", floats)) == (
        [[0] * 3, [128] * 3, [255] * 3],
        None,
    )


FRAMES = [Image.new("RGB", (20, 20), color) for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]


@pytest.mark.parametrize(
    ("ending", "note"),
    [
        (".gif", "several frames"),
        (".png", "several frames"),
        (".webp", "several frames"),
        (".avif", "several frames"),
        (".tiff", "several pages"),
    ],
)
def test_the_first_of_several_images_is_read_and_noted(
    tmp_path: Path, ending: str, note: str
) -> None:
    path = save_image(
        tmp_path / f"clip{ending}", FRAMES[0], save_all=True, append_images=FRAMES[1:], quality=100
    )
    photo = read_photo(path)
    assert np.abs(np.subtract(photo.rgb.getpixel((9, 9)), (200, 0, 0))).max() <= 3
    assert photo.notes == (f"clip{ending}: the first of {note}",) and photo.alpha is None
    assert read_photo(save_image(tmp_path / f"still{ending}", FRAMES[0])).notes == ()


def test_a_damaged_later_frame_is_ignored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)) for _ in range(5)]
    for ending in (".gif", ".tiff"):
        whole = save_image(
            tmp_path / f"x{ending}", noise[0], save_all=True, append_images=noise[1:]
        ).read_bytes()
        photo = read_photo(write_file(tmp_path / f"cut{ending}", whole[: int(len(whole) * 0.7)]))
        assert (
            np.array_equal(photo.rgb, noise[0].convert("RGB")) and "the first of " in photo.notes[0]
        )


def test_previews_in_a_jpeg_are_not_noted(tmp_path: Path) -> None:
    path = save_image(
        tmp_path / "x.jpg", FRAMES[0], format="MPO", save_all=True, append_images=FRAMES[1:]
    )
    assert read_photo(path).notes == ()


def test_a_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    path = save_image(
        tmp_path / "whole.png", Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    )
    write_file(tmp_path / "text.png", b"no")
    write_file(tmp_path / "cut.png", path.read_bytes()[:2000])
    write_file(
        tmp_path / "program.eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    )
    for name, words in (
        ("absent.png", "no file"),
        ("text.png", "is not an image"),
        ("cut.png", "cannot be read"),
        ("program.eps", "is not an image"),
    ):
        with pytest.raises(CnnlabError, match=words) as error:
            read_photo(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_the_pixel_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    head = struct.pack(">2I5B", 30_000, 30_000, 8, 2, 0, 0, 0)
    blob = png(1, 8, 2, bytes(3))
    at = blob.index(b"IHDR")
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + head))
    path = write_file(tmp_path / "x.png", blob[: at + 4] + head + crc + blob[at + 21 :])
    with pytest.raises(CnnlabError, match="900,000,000 pixels; the limit is 100,000,000"):
        read_photo(path)


def test_composite_on_white() -> None:
    rgb, alpha = (
        make_row((0, 100, 200), (0, 100, 200), (0, 100, 200)),
        make_row(255, 51, 0, mode="L"),
    )
    assert np.asarray(composite_on_white(rgb, alpha)).tolist() == [
        [[0, 100, 200], [204, 224, 244], [255, 255, 255]]
    ]
