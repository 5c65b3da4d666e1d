"""Limits, formats and damage, through the one reader of image files."""

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import read_image
from cnnlab.core.image_file import MAX_ASPECT_RATIO, TooManyPixels
from cnnlab.core.image_formats import IMAGE_SUFFIXES, SUFFIXES_BY_FORMAT, list_readable_formats
from cnnlab.core.photo import read_photo
from tests.handmade_image_files import gray_tiff, many_page_tiff, png
from tests.small_images import save_image, write_file

NOISE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
WRITABLE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
WRITABLE_FORMATS += ("QOI", "SGI", "DIB", "TGA", "PCX")


def encode(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, name)
    return buffer.getvalue()


@pytest.mark.parametrize("name", WRITABLE_FORMATS)
def test_a_format_is_read_by_each_of_its_suffixes(tmp_path: Path, name: str) -> None:
    blob = encode(name)
    decoded = Image.open(io.BytesIO(blob)).convert("RGB")
    for suffix in SUFFIXES_BY_FORMAT[name]:
        path = write_file(tmp_path / f"x{suffix}", blob)
        assert suffix in IMAGE_SUFFIXES and np.array_equal(read_image(path), decoded)
        assert np.array_equal(read_photo(path).rgb, decoded)


def test_psd_and_sun_are_read(tmp_path: Path) -> None:
    head = b"8BPS\0\1" + bytes(6) + b"\0\3" + bytes([0, 0, 0, 1, 0, 0, 0, 2, 0, 8, 0, 3])
    psd = write_file(tmp_path / "x.psd", head + bytes(14) + bytes([1, 2, 3, 4, 5, 6]))
    assert np.asarray(read_image(psd)).tolist() == [[[1, 3, 5], [2, 4, 6]]]
    numbers = (0x59A66A95, 2, 1, 24, 6, 1, 0, 0)
    sun = b"".join(number.to_bytes(4, "big") for number in numbers) + bytes([3, 2, 1, 6, 5, 4])
    image = read_image(write_file(tmp_path / "x.ras", sun))
    assert np.asarray(image).tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_heic_names_its_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.core.image_formats.HEIF_PLUGIN", "no_such_plugin")
    list_readable_formats.cache_clear()
    path = write_file(tmp_path / "x.heic", b"\0\0\0\x18ftypheic" + bytes(40))
    for read in (read_image, read_photo):
        with pytest.raises(CnnlabError, match=r"x\.heic is HEIC, .*: pip install pillow-heif$"):
            read(path)
    list_readable_formats.cache_clear()


def test_a_pipe_device_or_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("/dev/zero")
    start_s = time.monotonic()
    for name, kind in (
        ("pipe.png", "it is not a regular file"),
        ("link.png", "it is not a regular file"),
        ("folder.png", "it is a folder, not a file"),
    ):
        for read in (read_image, read_photo):
            with pytest.raises(CnnlabError, match=f"{name} cannot be read: {kind}$"):
                read(tmp_path / name)
    assert time.monotonic() - start_s < 1


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CnnlabError, match="it has 1,099,511,627,776 bytes; the limit is 2,0"):
        read_image(path)


@pytest.mark.parametrize("size", [(3_000_000, 1), (1, 60_000), (2 * MAX_ASPECT_RATIO + 1, 2)])
def test_a_thin_image_is_refused_before_it_is_decoded(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = save_image(tmp_path / "thin.png", Image.new("L", size))
    for read in (read_image, read_photo):
        with pytest.raises(CnnlabError, match=r"thin\.png is [\d,]+ times .*; the limit is 1,000$"):
            read(path)
    assert read_image(save_image(path, Image.new("L", (MAX_ASPECT_RATIO, 1)))).size == (1000, 1)


def test_a_tiff_with_tiles_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "x.tif", gray_tiff(b"\7" * 9, 3, 8, tile=16_000, compression=8))
    for read in (read_image, read_photo):
        with pytest.raises(TooManyPixels, match="has 256,000,000 pixels; the limit is 100,000,000"):
            read(path)


def test_a_tiff_of_100_000_pages_is_read_at_once(tmp_path: Path) -> None:
    path = write_file(tmp_path / "x.tif", many_page_tiff(100_000))
    start_s = time.monotonic()
    assert read_image(path).size == (1, 1)
    assert read_photo(path).notes == ("x.tif: the first of several pages",)
    assert time.monotonic() - start_s < 2


def measure_peak_mb(code: str) -> float:
    """Return the peak memory of a Python process in megabytes, beyond that of its imports."""
    start = "import resource; from cnnlab.core.image import read_image\n"
    start += "from cnnlab.core.photo import read_photo\n"
    start += "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
    command = [sys.executable, "-c", f"{start}before = peak()\n{code}\nprint(peak() - before)"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(("kind", "samples"), [(0, 1), (6, 4)])
def test_a_large_16_bit_png_takes_little_memory(tmp_path: Path, kind: int, samples: int) -> None:
    """Two bytes per pixel were eight, several times over."""
    side = 5000
    row = bytes(2 * samples * side)
    path = write_file(tmp_path / "x.png", png(side, 16, kind, row, height=side))
    assert path.stat().st_size < 1_000_000
    assert measure_peak_mb(f"read_image({str(path)!r})") < 11 * side * side / 1e6


def test_pillows_warnings_and_log_are_not_printed(tmp_path: Path) -> None:
    """Not in any thread, and not with other filters."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01"
    path = save_image(tmp_path / "x.jpg", Image.fromarray(NOISE), exif=exif)
    samples = gray_tiff(bytes(3), 3, 8).replace(
        (277).to_bytes(2, "little") + b"\3\0\1\0\0\0\1",
        (277).to_bytes(2, "little") + b"\3\0\1\0\0\0\xff",
    )
    write_file(tmp_path / "y.tif", samples)
    code = (
        "from cnnlab.core.image import read_image; from cnnlab.core.photo import read_photo\n"
        "import contextlib, threading\n"
        f"read_photo({str(path)!r})\n"
        f"thread = threading.Thread(target=read_image, args=[{str(path)!r}])\n"
        "thread.start(); thread.join()\n"
        f"with contextlib.suppress(Exception): read_image({str(tmp_path / 'y.tif')!r})\n"
    )
    for options in ([], ["-W", "error"], ["-W", "always"]):
        command = [sys.executable, *options, "-c", code]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
        assert (process.stdout, process.stderr) == ("", "")


@pytest.mark.parametrize("ending", [".png", ".webp", ".tiff", ".avif", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_training_images_and_photos_are_turned_alike(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(np.kron(NOISE[:2, :3], np.ones((16, 16, 1), np.uint8)))
    path = save_image(tmp_path / f"x{ending}", image, exif=exif, quality=100)
    trained, photo = read_image(path), read_photo(path).rgb
    assert trained.size == ((48, 32) if orientation < 5 else (32, 48))
    assert np.array_equal(trained, photo)


def test_a_damaged_exif_does_not_stop_training(tmp_path: Path) -> None:
    path = save_image(tmp_path / "x.png", Image.fromarray(NOISE), exif=b"Exif\0\0no such thing")
    assert np.array_equal(read_image(path), NOISE)


@pytest.mark.parametrize("name", WRITABLE_FORMATS)
def test_mutated_files_are_read_or_refused(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    blob, rng = encode(name), np.random.default_rng(list(name.encode()))
    path, start_s = tmp_path / "x", time.monotonic()
    for _ in range(50):
        mutated = bytearray(blob[: rng.integers(1, len(blob) + 1)] if rng.random() < 0.2 else blob)
        for _ in range(rng.integers(1, 6)):
            # Mostly in the header, whose numbers decide on sizes.
            span = min(len(mutated), 100 if rng.random() < 0.7 else len(mutated))
            mutated[rng.integers(span)] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        path.write_bytes(mutated)
        for read in (read_image, read_photo):
            try:
                read(path, max_pixels=1_000_000)
            except CnnlabError as error:
                assert str(error).startswith(f"{path} ") and str(error).isprintable()
    assert capfd.readouterr() == ("", "")
    assert time.monotonic() - start_s < 20
    assert threading.active_count() < 20
