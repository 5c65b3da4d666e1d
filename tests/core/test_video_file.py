import sys
from pathlib import Path

import numpy as np
import pytest

from cnnlab.core.clip_file import TooManyFrames
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.image_file import TooManyPixels
from cnnlab.core.video_file import open_video, write_video

LIMITS = {"max_frames": 100, "max_pixels": 10_000}


def make_frames(count: int = 4) -> list[np.ndarray]:
    """A gradient in color, odd in both sides, that becomes brighter."""
    rows, columns = np.indices((33, 47))
    frame = np.stack([rows * 4, columns * 3, 150 - columns], -1)
    return [(frame + 20 * number).clip(0, 255).astype(np.uint8) for number in range(count)]


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    message = r"a\.mp4 is a video, which needs PyAV\npip install 'cnnlab\[video\]'"
    with pytest.raises(UsageError, match=message):
        open_video("a.mp4", **LIMITS)


@pytest.mark.parametrize("name", ["mp4", "webm"])
def test_frames_colors_and_durations_round_trip(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av")
    path, frames = tmp_path / f"a.{name}", make_frames()
    write_video(path, frames, [40, 120, 80, 80], name, "{}")
    clip = open_video(path, **LIMITS)
    read = list(clip.iterate())
    assert clip.num_frames == len(read) == 4 and clip.suffix == f".{name}" and clip.plays == 0
    assert [round(frame.duration_ms) for frame in read[:3]] == [40, 120, 80]
    for frame, pixels in zip(read, frames, strict=True):
        image = np.asarray(frame.image)
        assert image.shape == (34, 48, 3)
        assert np.abs(image[:33, :47].astype(int) - pixels).mean() < 4


def test_limits_are_checked_before_decoding(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    write_video(path, make_frames(), [40] * 4, "mp4", "{}")
    with pytest.raises(TooManyFrames):
        open_video(path, max_frames=3, max_pixels=10_000)
    with pytest.raises(TooManyPixels):
        open_video(path, max_frames=4, max_pixels=1000)


def test_what_is_no_video_or_is_damaged_is_named(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    with pytest.raises(CnnlabError, match="no file"):
        open_video(path, **LIMITS)
    path.write_text("#EXTM3U\nfile:///etc/passwd\n")  # a playlist, which refers to other files
    with pytest.raises(CnnlabError, match="is not a video that can be read"):
        open_video(path, **LIMITS)
    write_video(path, make_frames(), [40] * 4, "mp4", "{}")
    blob = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(15):
        damaged = bytearray(blob[: rng.integers(30, len(blob) + 1)])
        for position in rng.integers(0, len(damaged), 5):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert all(f.image.mode == "RGB" for f in open_video(path, **LIMITS).iterate())
        except CnnlabError as error:
            assert path.name in str(error)
