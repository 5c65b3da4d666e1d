"""Colors of images by their profiles, computed by hand."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from cnnlab.core.photo import make_srgb_profile, read_photo
from tests.handmade_image_files import (
    ADOBE,
    D50,
    SRGB,
    cmyk_profile,
    encoded,
    gamma,
    gray_profile,
    png,
    rgb_profile,
    table,
)
from tests.small_images import make_row, read_row, save_image, write_file

RNG = np.random.default_rng(0)


def test_linear_light_gets_srgbs_curve(tmp_path: Path) -> None:
    values = [0, 1, 20, 55, 128, 188, 255]
    expected = encoded(np.array(values) / 255).round()
    assert expected.tolist() == [0, 13, 79, 128, 188, 223, 255]
    image = make_row(*[(v, v, 0) for v in values])
    colors, _ = read_row(
        save_image(tmp_path / "x.png", image, icc_profile=rgb_profile(SRGB, gamma(1)))
    )
    assert np.abs(np.array(colors) - np.stack([expected, expected, 0 * expected], -1)).max() <= 1
    for mode, profile in (("L", gray_profile(gamma(1))), ("L", rgb_profile(SRGB, gamma(1)))):
        path = save_image(tmp_path / "gray.png", make_row(*values, mode=mode), icc_profile=profile)
        assert np.abs(np.array(read_row(path)[0]) - expected[:, None]).max() <= 1


def test_exchanged_primaries_exchange_the_channels(tmp_path: Path) -> None:
    icc = rgb_profile(SRGB[:, [1, 0, 2]], table())
    image = make_row(*[(200, 100, 30)] * 8)
    path = save_image(tmp_path / "x.jpg", image, quality=100, subsampling=0, icc_profile=icc)
    assert np.abs(np.array(read_row(path)[0]) - (100, 200, 30)).max() <= 3


@pytest.mark.parametrize("ending", [".png", ".tiff", ".webp", ".avif"])
def test_a_wide_gamut_becomes_srgb(tmp_path: Path, ending: str) -> None:
    colors = np.array(
        [
            (120, 160, 90),
            (200, 180, 160),
            (60, 60, 60),
            (150, 120, 180),
            (255, 255, 255),
            (0, 255, 0),
        ]
    )
    light = (colors / 255) ** 2.2 @ (np.linalg.inv(SRGB) @ ADOBE).T
    expected = encoded(light.clip(0, 1))
    assert expected[0] == pytest.approx((98, 161, 85), abs=1)  # greener than its numbers say
    image = Image.fromarray(np.repeat(colors[None].astype(np.uint8), 16, 1).repeat(16, 0))
    options = {"lossless": True} if ending == ".webp" else {"quality": 100, "subsampling": "4:4:4"}
    path = save_image(
        tmp_path / f"x{ending}", image, icc_profile=rgb_profile(ADOBE, gamma(2.2)), **options
    )
    colors = np.array(read_row(path)[0])[8::16]
    assert np.abs(colors - expected).max() <= (6 if ending == ".avif" else 2)


def test_a_wide_gamut_of_16_bits_becomes_srgb(tmp_path: Path) -> None:
    colors = np.array([(120, 160, 90), (200, 180, 160), (60, 60, 60), (255, 255, 255)])
    expected = encoded(((colors / 255) ** 2.2 @ (np.linalg.inv(SRGB) @ ADOBE).T).clip(0, 1))
    icc = b"test\0\0" + zlib.compress(rgb_profile(ADOBE, gamma(2.2)))
    row = (colors * 257).astype(">u2").tobytes()
    path = write_file(tmp_path / "x.png", png(4, 16, 2, row, (b"iCCP", icc)))
    assert np.abs(np.array(read_row(path)[0]) - expected).max() <= 2
    icc = b"test\0\0" + zlib.compress(gray_profile(gamma(1.8)))
    grays = np.array([20, 60, 128, 255])
    path = write_file(
        tmp_path / "l.png", png(4, 16, 0, (grays * 257).astype(">u2").tobytes(), (b"iCCP", icc))
    )
    expected = encoded((grays / 255) ** 1.8)
    assert np.abs(np.array(read_row(path)[0])[:, 0] - expected).max() <= 1


def test_a_profile_does_not_change_alpha(tmp_path: Path) -> None:
    image = make_row((128, 0, 0, 100), (0, 128, 0, 255), mode="RGBA")
    path = save_image(tmp_path / "x.png", image, icc_profile=rgb_profile(SRGB, gamma(1)))
    assert read_row(path) == ([[188, 0, 0], [0, 188, 0]], [100, 255])
    assert read_row(
        save_image(
            tmp_path / "p.png",
            make_row((128, 0, 0), (0, 0, 0)).quantize(2),
            icc_profile=rgb_profile(SRGB, gamma(1)),
        )
    ) == ([[188, 0, 0], [0, 0, 0]], None)


@pytest.mark.parametrize(
    "icc", [make_srgb_profile(), rgb_profile(SRGB, table())], ids=["ours", "another"]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_srgb_is_unchanged(tmp_path: Path, icc: bytes, mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (300, 300, 3), dtype=np.uint8)).convert(mode)
    path = save_image(tmp_path / "x.png", image, icc_profile=icc)
    photo = read_photo(path)
    assert np.array_equal(photo.rgb, image.convert("RGB")) and photo.notes == ()


def test_cmyk_follows_its_profile(tmp_path: Path) -> None:
    inks = make_row((0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), mode="CMYK")
    gray = encoded(np.array([((128 / 255 * 100 + 16) / 116) ** 3]))[0]  # CIE 1976: L* -> Y
    assert gray == pytest.approx(119.4, abs=0.1)
    colors, _ = read_row(save_image(tmp_path / "x.tiff", inks, icc_profile=cmyk_profile()))
    assert np.abs(np.array(colors) - np.array([255, gray, 0])[:, None]).max() <= 2


@pytest.mark.parametrize("ending", [".tiff", ".jpg"])
def test_cmyk_without_a_profile_is_subtracted_from_white(tmp_path: Path, ending: str) -> None:
    """A JPEG's are inverted, as Adobe's are."""
    inks = Image.new("CMYK", (32, 16), (255, 0, 0, 0))
    inks.paste((0, 0, 0, 100), (16, 0, 32, 16))
    path = save_image(tmp_path / f"x{ending}", inks, quality=100)
    assert ending != ".jpg" or b"Adobe" in path.read_bytes()
    colors = np.array(read_row(path)[0])
    assert (
        np.abs(colors[4] - (0, 255, 255)).max() <= 2
        and np.abs(colors[28] - (155, 155, 155)).max() <= 2
    )


NOTE = "its color profile cannot be used, and is ignored"


@pytest.mark.parametrize(
    "icc",
    [
        b"",
        b"junk",
        rgb_profile(SRGB, gamma(1))[:300],
        gray_profile(gamma(1)),
        cmyk_profile(),
        bytes(500),
    ],
    ids=["empty", "junk", "cut", "gray's", "inks'", "zeros"],
)
def test_an_invalid_profile_is_ignored_and_noted(tmp_path: Path, icc: bytes) -> None:
    chunk = b"x\0\0" + zlib.compress(icc)
    photo = read_photo(
        write_file(tmp_path / "x.png", png(2, 8, 2, bytes((1, 2, 3, 250, 5, 6)), (b"iCCP", chunk)))
    )
    assert np.asarray(photo.rgb).tolist() == [[[1, 2, 3], [250, 5, 6]]]
    assert photo.notes == (f"x.png: {NOTE}",)


def test_a_profile_that_cannot_be_decompressed_is_noted(tmp_path: Path) -> None:
    blob = png(
        1, 8, 2, bytes((1, 2, 3)), (b"iCCP", b"x\0\0" + zlib.compress(make_srgb_profile())[:-30])
    )
    photo = read_photo(write_file(tmp_path / "x.png", blob))
    assert np.asarray(photo.rgb).tolist() == [[[1, 2, 3]]] and photo.notes == (f"x.png: {NOTE}",)


def test_an_rgb_profile_is_refused_for_cmyk(tmp_path: Path) -> None:
    path = save_image(
        tmp_path / "x.tiff", make_row((255, 0, 0, 0), mode="CMYK"), icc_profile=make_srgb_profile()
    )
    photo = read_photo(path)
    assert photo.notes == (f"x.tiff: {NOTE}",) and photo.rgb.getpixel((0, 0)) == (0, 255, 255)


def test_lab_becomes_srgb(tmp_path: Path) -> None:
    """Black, gray, white, and nearly sRGB's red, by CIE 1976 under D50."""
    lab = [(0, 128, 128), (128, 128, 128), (255, 128, 128), (138, 209, 198)]
    height = np.array([L / 255 * 100 + 16 for L, _, _ in lab]) / 116
    roots = np.stack(
        [
            height + [(a - 128) / 500 for _, a, _ in lab],
            height,
            height - [(b - 128) / 200 for *_, b in lab],
        ]
    )
    xyz = np.where(roots > 6 / 29, roots**3, (roots - 4 / 29) * 3 * (6 / 29) ** 2).T * D50
    expected = encoded((xyz @ np.linalg.inv(SRGB).T).clip(0, 1))
    assert expected[3] == pytest.approx((255, 0, 0), abs=6)
    colors, _ = read_row(save_image(tmp_path / "x.tiff", make_row(*lab, mode="LAB")))
    assert np.abs(np.array(colors) - expected).max() <= 2


def test_the_written_profile_is_srgb_with_constant_bytes() -> None:
    blob = make_srgb_profile()
    assert blob[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0) and blob[84:100] == bytes(16)
    assert len(blob) == int.from_bytes(blob[:4])
    opened = ImageCms.ImageCmsProfile(io.BytesIO(blob))
    assert (
        "sRGB" in ImageCms.getProfileDescription(opened) and opened.profile.xcolor_space == "RGB "
    )
