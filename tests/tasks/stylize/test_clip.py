import json
import os
import signal
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from cnnlab.style.optimizers import LBFGS
from cnnlab.tasks.stylize import clip_frames
from tests.tasks.conftest import Stylize

CLIP = ("clip.gif", "one.png")
FEW = ("frame_steps=2",)


def make_contents(count: int = 4) -> list[Image.Image]:
    """A square that moves over the photo, in colors that a GIF holds."""
    frames, palette = list[Image.Image](), Image.open("photo.png").convert("RGB").quantize(250)
    for number in range(count):
        frame = Image.open("photo.png").convert("RGB")
        frame.paste(Image.open("two.png").convert("RGB").resize((14, 14)), (4 + 9 * number, 20))
        frame = frame.quantize(palette=palette, dither=Image.Dither.NONE)
        frames.append(frame.convert("RGB"))
    return frames


def save_clip(name: str, frames: list[Image.Image], **options: Any) -> None:
    options = {"duration": [50, 90, 50, 70][: len(frames)], "loop": 0} | options
    frames[0].save(name, save_all=True, append_images=frames[1:], **options)


@pytest.fixture
def clip(image_folder: Path) -> None:
    save_clip("clip.gif", make_contents())


def read_frames(name: str) -> list[np.ndarray]:
    return [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(Image.open(name))]


def test_a_clip_is_stylized_frame_by_frame(stylize: Stylize, clip: None) -> None:
    out, err = stylize(*FEW, images=CLIP)
    assert err == "" and out.startswith(
        "cnnlab stylize: clip.gif in the style of one.png\n"
        "net.safetensors, 4 frames of 48x36 pixels, device cpu"
    )
    assert "\n4 frames, 1 scene, 0:0" in out and "\n\nclip_one.gif\n" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "tensorboard" not in line)
    image = Image.open("clip_one.gif")
    assert image.size == (48, 36) and image.info["loop"] == 0
    durations = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert durations == [50, 90, 50, 70]
    (folder,) = Path("outputs/stylize").iterdir()
    record = json.loads((folder / "result.json").read_text())
    assert record["steps"] == [7, 2, 2, 2] and record["complete"] and record["scenes"] == 1
    assert record["settings"]["frame_steps"] == 2
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and rows[2]["frame/fixed"] > 0.3


def test_where_the_content_is_still_the_clip_does_not_flicker(stylize: Stylize, clip: None) -> None:
    """Against the same frames, stylized one by one."""
    result = json.loads(stylize(*FEW, "out=a.webp", "--json", images=CLIP)[0])
    Path("frames").mkdir()
    contents = make_contents()
    for number, frame in enumerate(contents):
        frame.save(f"frames/{number}.png")
    stylize(images=("frames", "one.png"))
    single = [np.asarray(Image.open(f"frames_one/{number}.png")) for number in range(4)]
    small = [np.asarray(frame.resize((48, 36), Image.Resampling.LANCZOS)) for frame in contents]
    changes = []
    for outputs in (read_frames("a.webp"), single):
        total = []
        for t in range(1, 4):
            is_still = np.abs(small[t].astype(int) - small[t - 1]).max(-1) <= 1
            total.append(np.abs(outputs[t].astype(int) - outputs[t - 1])[is_still].mean() / 255)
        changes.append(float(np.mean(total)))
    assert changes[0] < 0.2 * changes[1] and result["flicker"] < 0.2 * changes[1]


@pytest.mark.parametrize("color", ["content", "matched"])
def test_a_still_clip_stays_as_its_first_frame(
    stylize: Stylize, image_folder: Path, color: str
) -> None:
    frames = [Image.open("photo.png").convert("RGB")] * 2
    changed = frames[0].copy()
    changed.paste((255, 0, 0), (0, 0, 9, 9))  # so that no writer drops the frame
    save_clip("clip.png", [frames[0], changed, frames[0]], duration=100)
    result = json.loads(
        stylize(*FEW, f"color={color}", "--json", images=("clip.png", "one.png"))[0]
    )
    assert result["clip"] == "clip_one.apng" and result["frames"] == 3
    first, *others = read_frames("clip_one.apng")
    assert len(others) == 2
    assert all(np.array_equal(first[9:, 9:], other[9:, 9:]) for other in others)


def test_a_cut_starts_another_scene(stylize: Stylize, image_folder: Path) -> None:
    photo = Image.open("photo.png").convert("RGB")
    other = Image.open("two.png").convert("RGB").resize(photo.size).rotate(180)
    save_clip("clip.gif", [photo, photo.rotate(0), other], duration=[50, 60, 70])
    result = json.loads(stylize(*FEW, "--json", images=CLIP)[0])
    assert result["scenes"] == 2
    assert result["steps"][0] == result["steps"][-1] == 7


def test_a_still_output_takes_the_first_frame(stylize: Stylize, clip: None) -> None:
    out, _ = stylize("out=a.png", images=CLIP)
    assert "\nclip.gif: the first of several frames\n" in out
    assert not getattr(Image.open("a.png"), "is_animated", False)
    assert "of several frames" in stylize("--score", "a.png", images=CLIP)[0]


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["max_frames=3"], "clip.gif has more than 3 frames\nmax_frames=N raises the limit", 1),
        (["max_pixels=3000"], "3,072 pixels; the limit is 3,000\nmax_pixels=N raises the limit", 1),
        (["out=a.avi"], "out must end in .gif, .webp, .apng, .mp4 or .webm, not a.avi", 2),
        (["out=clip.gif", "--overwrite"], "clip.gif is one of the input images", 2),
        (["frame_steps=0"], "frame_steps must be at least 1, not 0", 2),
        (["size=8"], "too small", 2),
    ],
)
def test_impossible_clips_are_refused_before_work(
    stylize: Stylize, clip: None, words: list[str], message: str, code: int
) -> None:
    _, err = stylize(*words, images=CLIP, code=code)
    assert message in err and not Path("outputs").exists()
    assert not list(Path().glob("clip_*"))


def test_frames_that_memory_does_not_hold_are_refused(
    stylize: Stylize, clip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.tasks.stylize.clip.get_free_memory", lambda device: 10_000)
    _, err = stylize(images=CLIP, code=1)
    size = "4 frames of 48x36 pixels need 0 MB, 0 MB is free"
    assert err == f"cnnlab: {size}\nsize=N makes them smaller\n"
    assert not Path("outputs").exists()


def test_a_clip_is_not_reproduced(stylize: Stylize, clip: None) -> None:
    stylize(*FEW, "out=a.webp", images=CLIP)
    _, err = stylize("--reproduce", "a.webp", images=CLIP, code=2)
    assert err.startswith("cnnlab: a.webp is a clip, and --reproduce takes an image\n")


def test_a_video_without_pyav_names_the_extra(
    stylize: Stylize, clip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    Path("clip.mp4").write_bytes(b"....ftyp")
    fix = "is a video, which needs PyAV\npip install 'cnnlab[video]'\n"
    assert stylize(images=("clip.mp4", "one.png"), code=2)[1] == f"cnnlab: clip.mp4 {fix}"
    assert stylize("out=b.mp4", images=CLIP, code=2)[1] == f"cnnlab: b.mp4 {fix}"


def test_an_interrupted_clip_is_shorter(
    stylize: Stylize, clip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = LBFGS.step, list[int]()

    def interrupt(self: LBFGS) -> bool:
        calls.append(1)
        if len(calls) == 7 + 2 + 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    monkeypatch.setattr(clip_frames.LBFGS, "step", interrupt)
    _, err = stylize(*FEW, "out=a.webp", "optimizer=lbfgs", images=CLIP, code=130)
    saved = "the clip so far is saved as a.webp"
    assert err == f"cnnlab: stopped after 2 of 4 frames; {saved}\n"
    assert Image.open("a.webp").n_frames == 2  # type: ignore[attr-defined]
    calls[:] = [1] * 8
    _, err = stylize(*FEW, "out=b.webp", "optimizer=lbfgs", images=CLIP, code=130)
    assert err == "cnnlab: stopped after 0 of 4 frames; no frame was finished\n"
    assert not Path("b.webp").exists()


def test_a_damaged_frame_keeps_those_before(stylize: Stylize, clip: None) -> None:
    save_clip("clip.png", make_contents())
    blob = bytearray(Path("clip.png").read_bytes())
    position = blob.rfind(b"fdAT")
    blob[position + 8 : position + 60] = bytes(52)
    Path("clip.png").write_bytes(blob)
    _, err = stylize(*FEW, images=("clip.png", "one.png"), code=1)
    assert "cnnlab: clip.png cannot be read: " in err
    assert err.endswith("the 3 frames before are saved as clip_one.apng\n")
    assert Image.open("clip_one.apng").n_frames == 3  # type: ignore[attr-defined]


def test_a_time_limit_is_for_the_whole_clip(stylize: Stylize, clip: None) -> None:
    result = json.loads(stylize("--time", "1s", "--json", images=CLIP)[0])
    assert len(result["steps"]) == 4 and min(result["steps"]) >= 1
    clock = clip_frames.ClipClock(10, deadline=monotonic() + 100)
    assert clock.share_s(1, 9.0) == pytest.approx(50, rel=0.05)  # as much as the nine others
    assert clock.share_s(6, 1.0) == pytest.approx(20, rel=0.05)
    assert clock.share_s(10, 1.0) == pytest.approx(100, rel=0.05)


@pytest.mark.slow
def test_a_video_is_read_and_written(stylize: Stylize, clip: None) -> None:
    pytest.importorskip("av")
    stylize(*FEW, "out=a.mp4", images=CLIP)
    result = json.loads(stylize(*FEW, "--json", images=("a.mp4", "one.png"))[0])
    assert result["clip"] == "a_one.mp4" and result["frames"] == 4
    out, _ = stylize(*FEW, "out=b.gif", images=("a.mp4", "one.png"))
    assert "\nb.gif\n" in out
    durations = [f.info["duration"] for f in ImageSequence.Iterator(Image.open("b.gif"))]
    assert durations[:3] == [50, 90, 50]
