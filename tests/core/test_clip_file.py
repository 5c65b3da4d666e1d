import struct
from itertools import pairwise
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.clip_file import (
    Clip,
    TooManyFrames,
    is_animated_image,
    open_animated_image,
)
from cnnlab.core.clip_formats import ClipContent, find_clip_writer
from cnnlab.core.errors import CnnlabError
from cnnlab.core.image_file import TooManyPixels

SUFFIXES = (".gif", ".webp", ".apng")
LIMITS = {"max_frames": 100, "max_pixels": 10_000}
GIF_FRAME = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
GIF_HEAD = b"GIF89a" + struct.pack("<2H3B", 1, 1, 0x80, 0, 0) + bytes(6)


def make_frames(count: int = 3) -> list[np.ndarray]:
    """Noise of which only the first columns change from frame to frame."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)] * count
    for number in range(1, count):
        frames[number] = frames[number].copy()
        frames[number][:, :4] = rng.integers(0, 256, (12, 4, 3), dtype=np.uint8)
    return frames


def write(path: Path, frames: list[np.ndarray], plays: int = 0) -> Clip:
    durations = [40.0, 120.0, 70.0, 50.0][: len(frames)]
    find_clip_writer(path)(path, ClipContent(frames, durations, plays, {"steps": [1]}))
    return open_animated_image(path, **LIMITS)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_durations_and_plays_round_trip(tmp_path: Path, suffix: str, plays: int) -> None:
    clip = write(tmp_path / f"a{suffix}", make_frames(), plays)
    frames = list(clip.iterate())
    assert clip.num_frames == 3 and clip.plays == plays and clip.suffix == suffix
    assert [frame.duration_ms for frame in frames] == [40, 120, 70]
    assert all(frame.image.mode == "RGB" and frame.image.size == (16, 12) for frame in frames)
    assert is_animated_image(clip.path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pixels_round_trip_and_what_is_still_stays_so(tmp_path: Path, suffix: str) -> None:
    frames = make_frames()
    read = [np.asarray(f.image) for f in write(tmp_path / f"a{suffix}", frames).iterate()]
    for before, after in pairwise(read):
        assert np.array_equal(before[:, 4:], after[:, 4:])
        assert not np.array_equal(before[:, :4], after[:, :4])
    error = np.abs(np.subtract(read, frames, dtype=np.int64)).mean()
    assert error == 0 if suffix != ".gif" else error < 12  # 255 colors for 320


def test_a_gif_of_100_000_frames_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gif"
    path.write_bytes(GIF_HEAD + GIF_FRAME * 100_000 + b";")
    began = process_time()
    with pytest.raises(TooManyFrames, match=r"bomb\.gif has more than 100 frames"):
        open_animated_image(path, **LIMITS)
    assert process_time() - began < 0.2


def test_a_frame_beyond_the_image_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "large.gif"
    far = b"\x2c" + struct.pack("<4HB", 60000, 60000, 5, 5, 0) + b"\x02\x02\x44\x01\x00"
    path.write_bytes(GIF_HEAD + GIF_FRAME + far + b";")
    with pytest.raises(TooManyPixels, match="3,600,600,025 pixels; the limit is 10,000"):
        open_animated_image(path, **LIMITS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_clip_of_too_many_frames_or_pixels_is_refused(tmp_path: Path, suffix: str) -> None:
    clip = write(tmp_path / f"a{suffix}", make_frames(4))
    with pytest.raises(TooManyFrames):
        open_animated_image(clip.path, max_frames=3, max_pixels=10_000)
    with pytest.raises(TooManyPixels):
        open_animated_image(clip.path, max_frames=4, max_pixels=100)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_clip_raises_no_other_error(tmp_path: Path, suffix: str) -> None:
    blob = write(tmp_path / f"a{suffix}", make_frames()).path.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(30):
        damaged = bytearray(blob[: rng.integers(20, len(blob) + 1)])
        for position in rng.integers(0, len(damaged), 5):
            damaged[position] = rng.integers(256)
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(damaged)
        try:
            is_animated_image(path)
            for frame in open_animated_image(path, **LIMITS).iterate():
                assert frame.image.mode == "RGB"
        except CnnlabError as error:
            assert path.name in str(error)


def test_transparency_is_composited_on_white(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (4, 4), (number, 0, 0, 0)) for number in (1, 2)]
    for frame in frames:
        frame.putpixel((0, 0), (9, 99, 199, 255))
    frames[1].putpixel((1, 0), (9, 99, 199, 255))
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    clip = open_animated_image(tmp_path / "a.webp", **LIMITS)
    images = [frame.image for frame in clip.iterate()]
    assert [image.getpixel((0, 0)) for image in images] == [(9, 99, 199)] * 2
    assert [image.getpixel((3, 3)) for image in images] == [(255, 255, 255)] * 2
    assert clip.notes == ["transparency composited on white"]


def test_a_still_image_is_no_clip(tmp_path: Path) -> None:
    for name in ("a.png", "a.gif", "a.webp", "a.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
        assert not is_animated_image(tmp_path / name)
    (tmp_path / "text.gif").write_text("no image")
    assert not is_animated_image(tmp_path / "text.gif")
    assert not is_animated_image(tmp_path / "absent.gif")
