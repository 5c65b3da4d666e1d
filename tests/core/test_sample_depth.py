"""Samples of 1 to 32 bits, with known values, through both readers."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import read_image
from cnnlab.core.photo import read_photo
from tests.handmade_image_files import gray_tiff, pack_bits, png
from tests.small_images import make_row, save_image, write_file


def read_gray(path: Path) -> list[int]:
    """Return the gray values of a row, which both readers must agree on."""
    values = np.asarray(read_image(path).convert("L"))[0].tolist()
    assert values == np.asarray(read_photo(path).rgb.convert("L"))[0].tolist()
    return values


def read_on_white(path: Path) -> Any:
    """Return a row as composited on white for training, which must agree with the photo's alpha."""
    photo = read_photo(path)
    white = Image.new("RGB", photo.rgb.size, "white")
    white.paste(photo.rgb, None, photo.alpha)
    pixels = np.asarray(read_image(path).convert("RGB"))[0].tolist()
    assert pixels == np.asarray(white)[0].tolist()
    return [pixel[0] if len(set(pixel)) == 1 else pixel for pixel in pixels]


def pack_gray(samples: list[int], bits: int, order: str = "<") -> bytes:
    """Return a TIFF's row: 16-bit samples in its byte order, others packed."""
    if bits == 16:
        return struct.pack(f"{order}{len(samples)}H", *samples)
    return pack_bits(samples, bits)


def test_white_12_bit_tiff_is_white(tmp_path: Path) -> None:
    blob = gray_tiff(pack_bits([0, 2048, 4095], 12), 3, 12)
    assert read_gray(write_file(tmp_path / "x.tif", blob)) == [0, 128, 255]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("is_white_zero", [False, True])
@pytest.mark.parametrize("bits", range(1, 17))
def test_tiff_of_1_to_16_bits_is_right_or_refused(
    tmp_path: Path, bits: int, is_white_zero: bool, order: str
) -> None:
    white = 2**bits - 1
    samples = [0, white // 2, white]
    blob = gray_tiff(
        pack_gray(samples, bits, order), 3, bits, is_white_zero=is_white_zero, order=order
    )
    path = write_file(tmp_path / "x.tif", blob)
    if bits in (1, 2, 4, 8) or (bits in (12, 16) and (bits, order, is_white_zero) in READ_DEEP):
        grays = [(white - s if is_white_zero else s) * 255 / white for s in samples]
        assert np.abs(np.subtract(read_gray(path), grays)).max() <= 0.5
        return
    message = r"x\.tif is a TIFF of a kind that Pillow cannot read; convert it to 8 or 16 bits$"
    for read in (read_image, read_photo):
        with pytest.raises(CnnlabError, match=message):
            read(path)


READ_DEEP = {(12, "<", False), (16, "<", False), (16, "<", True), (16, ">", False)}


@pytest.mark.parametrize("is_white_zero", [False, True])
def test_white_is_zero_16_bit_tiff_is_not_a_negative(tmp_path: Path, is_white_zero: bool) -> None:
    data = zlib.compress(struct.pack("<3H", 0, 257 * 100, 65535))
    for compression, row in ((8, data), (1, zlib.decompress(data))):
        blob = gray_tiff(row, 3, 16, is_white_zero=is_white_zero, compression=compression)
        values = read_gray(write_file(tmp_path / "x.tif", blob))
        assert values == ([255, 155, 0] if is_white_zero else [0, 100, 255])


def test_compressed_12_bit_tiff(tmp_path: Path) -> None:
    data = zlib.compress(pack_bits([0, 2048, 4095], 12))
    path = write_file(tmp_path / "x.tif", gray_tiff(data, 3, 12, compression=8))
    assert read_gray(path) == [0, 128, 255]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("bits", "sample_format"), [(32, 1), (32, 2), (16, 2), (8, 2)])
def test_tiff_of_integers_without_a_white_is_refused(
    tmp_path: Path, bits: int, sample_format: int, order: str
) -> None:
    row = bytes(range(3 * bits // 8))
    blob = gray_tiff(row, 3, bits, sample_format=sample_format, order=order)
    path = write_file(tmp_path / "x.tif", blob)
    for read in (read_image, read_photo):
        with pytest.raises(CnnlabError, match=r"x\.tif .* 8 or 16 bits$") as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("is_white_zero", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_float_tiff_of_0_to_1(tmp_path: Path, order: str, is_white_zero: bool) -> None:
    row = struct.pack(f"{order}3f", 0, 0.2, 1)
    blob = gray_tiff(row, 3, 32, sample_format=3, order=order, is_white_zero=is_white_zero)
    values = read_gray(write_file(tmp_path / "x.tif", blob))
    assert values == ([255, 204, 0] if is_white_zero else [0, 51, 255])


@pytest.mark.parametrize("value", [1.05, 255, -0.01, float("nan"), float("inf")])
def test_floats_without_a_white_are_refused(tmp_path: Path, value: float) -> None:
    """An overshoot of 1.05 once made the image black, as its white was taken for 255."""
    row = struct.pack("<3f", 0, 0.5, value)
    path = write_file(tmp_path / "x.tif", gray_tiff(row, 3, 32, sample_format=3))
    for read in (read_image, read_photo):
        with pytest.raises(CnnlabError, match=r"x\.tif cannot be read: it has floats from .* to "):
            read(path)


def test_dark_16_bit_pgm_stays_dark(tmp_path: Path) -> None:
    """Values that all fit in 8 bits once had 255 as their white."""
    path = write_file(tmp_path / "x.pgm", b"P5 3 1 65535\n" + struct.pack(">3H", 0, 100, 255))
    assert read_gray(path) == [0, 0, 1]
    blob = b"P5 3 1 4095\n" + struct.pack(">3H", 0, 2048, 4095)
    assert read_gray(write_file(tmp_path / "y.pgm", blob)) == [0, 128, 255]
    assert read_gray(write_file(tmp_path / "z.pgm", b"P2 3 1 1000\n0 500 1000\n")) == [0, 128, 255]
    row = struct.pack("<3f", 0, 0.2, 1)
    assert read_gray(write_file(tmp_path / "x.pfm", b"Pf\n3 1\n-1.0\n" + row)) == [0, 51, 255]


def test_orientation_of_a_16_bit_tiff(tmp_path: Path) -> None:
    row = struct.pack("<3H", 0, 257 * 100, 65535)
    blob = gray_tiff(row, 3, 16, is_white_zero=True, orientation=2)
    assert read_gray(write_file(tmp_path / "x.tif", blob)) == [0, 155, 255]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_transparent_gray_of_a_png(tmp_path: Path, bits: int) -> None:
    white = 2**bits - 1
    samples, key = [0, white, 0], 0
    if bits > 1:
        samples, key = [0, white // 3, white], white // 3
    row = struct.pack(">3H", *samples) if bits == 16 else pack_bits(samples, bits)
    blob = png(3, bits, 0, row, (b"tRNS", struct.pack(">H", key)))
    expected = [255, 255, 255] if bits == 1 else [0, 255, 255]
    path = write_file(tmp_path / "x.png", blob)
    assert read_on_white(path) == expected
    alpha = [0, 255, 0] if bits == 1 else [255, 0, 255]
    assert np.asarray(read_photo(path).alpha)[0].tolist() == alpha


@pytest.mark.parametrize("bits", [8, 16])
def test_transparent_color_of_a_png(tmp_path: Path, bits: int) -> None:
    colors = np.array([[10, 20, 30], [40, 50, 60]])
    if bits == 16:
        colors = colors * 256 + 99  # Pillow keeps the high byte
    row = colors.astype(">u2" if bits == 16 else "u1").tobytes()
    key = struct.pack(">3H", *colors[1].tolist())
    path = write_file(tmp_path / "x.png", png(2, bits, 2, row, (b"tRNS", key)))
    assert read_on_white(path) == [[10, 20, 30], 255]
    assert np.asarray(read_photo(path).alpha)[0].tolist() == [255, 0]


def test_a_transparent_color_of_excess_bits_is_masked(tmp_path: Path) -> None:
    """PNG section 11.3.2.1: only the low bits of the sample count."""
    blob = png(2, 2, 0, pack_bits([1, 2], 2), (b"tRNS", struct.pack(">H", 0xFF01)))
    assert read_on_white(write_file(tmp_path / "x.png", blob)) == [255, 170]


def test_transparent_palette_of_a_png(tmp_path: Path) -> None:
    palette = (b"PLTE", bytes([10, 20, 30, 40, 50, 60, 70, 80, 90]))
    blob = png(3, 2, 3, pack_bits([0, 1, 2], 2), palette, (b"tRNS", bytes([255, 0, 51])))
    expected = [[10, 20, 30], 255, [218, 220, 222]]
    assert read_on_white(write_file(tmp_path / "x.png", blob)) == expected


def test_alpha_of_gray_and_16_bit_png(tmp_path: Path) -> None:
    gray = save_image(tmp_path / "la.png", make_row((50, 255), (60, 0), mode="LA"))
    assert read_on_white(gray) == [50, 255]
    deep = struct.pack(">4H", 257 * 7, 65535, 257 * 8, 0)
    assert read_on_white(write_file(tmp_path / "la16.png", png(2, 16, 4, deep))) == [7, 255]


def test_premultiplied_gray_tiff(tmp_path: Path) -> None:
    blob = save_image(tmp_path / "x.tif", make_row((50, 128), (0, 0), mode="LA")).read_bytes()
    unassociated, associated = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    assert unassociated in blob
    path = write_file(tmp_path / "y.tif", blob.replace(unassociated, associated))
    assert np.abs(np.subtract(read_on_white(path), [177, 255])).max() <= 1


@pytest.mark.parametrize("ending", [".webp", ".gif"])
def test_alpha_of_other_formats(tmp_path: Path, ending: str) -> None:
    image = make_row((10, 20, 30, 255), (10, 20, 30, 0), mode="RGBA")
    if ending == ".gif":
        image = image.convert("P")
        image.putpalette([10, 20, 30, 90, 90, 90])
        image.putdata([0, 1])
        path = save_image(tmp_path / "x.gif", image, transparency=1)
    else:
        path = save_image(tmp_path / "x.webp", image, lossless=True, exact=True)
    assert read_on_white(path) == [[10, 20, 30], 255]


def test_alpha_of_bmp_needs_a_mask(tmp_path: Path) -> None:
    """Without a mask for it, the fourth byte of a BMP's pixel is reserved."""
    row = bytes([30, 20, 10, 255, 30, 20, 10, 0])  # BGRA
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for compression, expected in ((3, [[10, 20, 30], 255]), (0, [[10, 20, 30], [10, 20, 30]])):
        info = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, compression, 8, 0, 0, 0, 0)
        head = struct.pack("<2sIHHI", b"BM", 14 + 108 + 8, 0, 0, 14 + 108)
        blob = head + (info + masks).ljust(108, b"\0") + row
        assert read_on_white(write_file(tmp_path / "x.bmp", blob)) == expected


def test_ycck_jpeg(tmp_path: Path) -> None:
    """Adobe's transform 2: libjpeg's encoder turns C, M, Y, stored as 255 - ink, into the YCbCr of
    255 - stored, which is the ink; K is stored as 255 - ink."""
    image = Image.new("CMYK", (8, 8), (155, 127, 127, 55))
    blob = save_image(tmp_path / "cmyk.jpg", image, quality=100).read_bytes()
    at = blob.index(b"Adobe") + 11
    assert blob[at] == 0
    path = write_file(tmp_path / "ycck.jpg", blob[:at] + b"\x02" + blob[at + 1 :])
    # The file holds 255 minus the numbers above: Y 100, Cb 128, Cr 128 (ink 100), and K 200.
    expected = (255 - 100) * 200 / 255
    for photo in (read_image(path), read_photo(path).rgb):
        assert np.abs(np.asarray(photo, float) - expected).max() <= 3
