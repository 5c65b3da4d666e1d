import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.style.memory_plan import MemoryPlan
from cnnlab.style.tiled_loss import TransferLoss
from cnnlab.style.time_budget import TransferBudget
from cnnlab.tasks.stylize.batch_paths import make_unique_stems
from tests.tasks.conftest import Stylize, interrupt_at_step

FOLDER = ("photos", "one.png")


def test_folder_images_equal_single_images(stylize: Stylize, photos: Path) -> None:
    out, err = stylize(images=FOLDER)
    assert err == "" and out.startswith("cnnlab stylize: 3 images in the style of one.png\n")
    assert "\n1/3  a.png  48x36  content " in out and out.endswith(
        "\nphotos_one: 3 stylized, 0 already existed, 0 failed\n"
    )
    assert all(len(line) <= 80 for line in out.splitlines())
    outputs = sorted(Path("photos_one").iterdir())
    assert [path.name for path in outputs] == ["a.png", "b.png", "c.png"]
    stylize("out=alone.png", images=("photos/a.png", "one.png"))
    assert outputs[0].read_bytes() == Path("alone.png").read_bytes()
    assert sorted(path.name for path in photos.iterdir()) == [
        ".hidden.png",
        "a.png",
        "b.jpg",
        "c.PNG",
        "notes.txt",
    ]


def test_existing_outputs_are_skipped(stylize: Stylize, photos: Path) -> None:
    stylize(images=FOLDER)
    before = {path: path.stat().st_mtime_ns for path in Path("photos_one").iterdir()}
    Image.open("two.png").save(photos / "d.png")
    Path("photos_one/b.png").unlink()
    out, _ = stylize(images=FOLDER)
    assert (
        "1/4  a.png  already exists" in out
        and "photos_one: 2 stylized, 2 already existed, 0 failed" in out
    )
    assert all(
        path.stat().st_mtime_ns == time for path, time in before.items() if path.name != "b.png"
    )
    Image.open("two.png").save(photos / "a.png")  # another image under the same name
    out, err = stylize(images=FOLDER, code=1)
    assert err == "cnnlab: 1 of 4 images failed: a.png\n"
    assert (
        "a.png  failed: a.png already exists, made otherwise: "
        "--overwrite replaces it, out=DIR leaves it\n" in out
    )
    assert "1 stylized, 3 already existed" in stylize("--overwrite", images=FOLDER)[0]


def test_outputs_of_other_settings_are_refused(stylize: Stylize, photos: Path) -> None:
    stylize(images=FOLDER)
    before = Path("photos_one/a.png").read_bytes()
    out, err = stylize("strength=0.3", images=FOLDER, code=1)
    assert (
        err == "cnnlab: 3 of 3 images failed: a.png, b.jpg, c.PNG\n"
        and out.count("made otherwise") == 3
    )
    assert Path("photos_one/a.png").read_bytes() == before
    assert "3 stylized" in stylize("strength=0.3", "out=other/place", images=FOLDER)[0]
    assert len(list(Path("other/place").iterdir())) == 3


def test_one_failure_does_not_stop_a_folder(stylize: Stylize, photos: Path) -> None:
    (photos / "a.png").write_text("not an image")
    out, err = stylize(images=FOLDER, code=1)
    assert (
        "1/3  a.png  failed: photos/a.png is not an image" in out
        and "2 stylized, 0 already existed, 1 failed" in out
    )
    assert err == "cnnlab: 1 of 3 images failed: a.png\n"


def test_equal_stems_keep_their_suffix(stylize: Stylize, photos: Path) -> None:
    for name in (
        "a.tiff",
        "a.png.bmp",
    ):  # its own name is the first's with a suffix
        Image.open("two.png").save(photos / name)
    stylize(images=FOLDER)
    names = ["a.png.bmp.png", "a.png.png", "a.tiff.png", "b.png", "c.png"]
    assert sorted(path.name for path in Path("photos_one").iterdir()) == names


def test_unique_stems_ignore_case() -> None:
    def stems(*names: str) -> list[str]:
        return make_unique_stems([Path(name) for name in names])

    assert stems("IMG.jpg", "img.JPG", "img.jpg") == ["IMG.jpg", "img.JPG_2", "img.jpg_3"]
    assert stems("a.png", "A.JPG", "b.png") == ["a.png", "A.JPG", "b"]
    assert stems("a.png", "a.tiff", "a.png.bmp") == ["a.png", "a.tiff", "a.png.bmp"]
    assert len({name.lower() for name in stems("a.png", "A.PNG", "a.png.bmp", "a.png_2.bmp")}) == 4


def test_default_output_folder(
    stylize: Stylize, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("one.png").rename("one.png.jpg")
    stylize(images=("photos", "one.png.jpg"))
    assert len(list(Path("photos_one.png").iterdir())) == 3
    _, err = stylize(images=("/", "two.png"), code=2)
    assert err == "cnnlab: / has no name to derive a folder's from: use out=DIR\n"


def test_shrunk_output_is_replaced_with_more_memory(
    stylize: Stylize, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = MemoryPlan((27, 36), 1 << 40, 20)
    with monkeypatch.context() as little:
        little.setattr("cnnlab.style.memory_plan.plan_memory", lambda *_: small)
        assert "free memory holds 36x27 pixels, not 48x36" in stylize(images=FOLDER)[0]
        assert "0 stylized, 3 already existed, 0 failed" in stylize(images=FOLDER)[0]
    out, _ = stylize(images=FOLDER, code=1)
    assert (
        "failed: a.png already exists, smaller than memory allows now: --overwrite replaces it"
        in out
    )
    assert "3 stylized" in stylize("--overwrite", images=FOLDER)[0]
    assert "3 already existed" in stylize("--overwrite", images=FOLDER)[0]


def test_style_statistics_are_computed_once_per_size(
    stylize: Stylize, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.open("photo.png").crop((0, 0, 48, 48)).save(photos / "aa.png")  # of another shape
    compute_statistics, sizes = TransferLoss.compute_statistics, list[Any]()

    def record(self: TransferLoss, x: Any, *guidance: Any) -> Any:
        sizes.append(tuple(x.shape[2:]))
        return compute_statistics(self, x, *guidance)

    monkeypatch.setattr(TransferLoss, "compute_statistics", record)
    stylize("precision=float32", images=FOLDER)
    assert (
        len(sizes) == 3 * 4 + 2 * 2
    )  # each content image at two scales and, without a margin, in the end; the style image once


def test_interrupted_folder_continues(
    stylize: Stylize, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at_step(monkeypatch, 9)
    _, err = stylize(images=FOLDER, code=130)
    assert err == "cnnlab: stopped, b.jpg has no output; the same command continues\n"
    assert [path.name for path in Path("photos_one").iterdir()] == ["a.png"]
    assert "2 stylized, 1 already existed, 0 failed" in stylize(images=FOLDER)[0]


@pytest.mark.parametrize("when", [7, 8])
def test_interrupt_while_saving_keeps_the_image(
    stylize: Stylize, photos: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    should_stop, calls = TransferBudget.should_stop, 0

    def interrupt(self: TransferBudget, scale: int, step: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == when == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return should_stop(self, scale, step)

    def write_result(*_: object) -> None:
        if when == 8:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TransferBudget, "should_stop", interrupt)
    monkeypatch.setattr("cnnlab.tasks.stylize.log.TransferLog.write_result", write_result)
    _, err = stylize(images=FOLDER, code=130)
    assert err == "cnnlab: stopped, a.png is finished; the same command continues\n"


def test_unusual_names_do_not_stop_a_folder(stylize: Stylize, photos: Path) -> None:
    png = (photos / "a.png").read_bytes()
    (photos / ("n" * 245 + ".png")).write_bytes(png)
    with suppress(OSError):  # a file system that takes no such bytes
        Path(os.fsdecode(os.fsencode(photos) + b"/odd\xff.png")).write_bytes(png)
    out, err = stylize(images=FOLDER, code=1)
    assert "File name too long" in out and err.startswith("cnnlab: 1 of ") and "1 failed" in out
    assert {"a.png", "b.png", "c.png"} < {path.name for path in Path("photos_one").iterdir()}


def test_incomplete_output_is_refused(
    stylize: Stylize, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylize(images=FOLDER)
    should_stop = TransferBudget.should_stop

    def interrupt(self: TransferBudget, scale: int, step: int) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return should_stop(self, scale, step)

    with monkeypatch.context() as stopping:
        stopping.setattr(TransferBudget, "should_stop", interrupt)
        stylize("out=photos_one/a.png", "--overwrite", images=("photos/a.png", "one.png"), code=130)
    assert "a.png already exists, made otherwise" in stylize(images=FOLDER, code=1)[0]
    assert "1 stylized, 2 already existed" in stylize("--overwrite", images=FOLDER)[0]


def test_notes_are_printed_below_the_image(stylize: Stylize, photos: Path) -> None:
    frames = [Image.open("photo.png").rotate(90 * n) for n in range(2)]
    frames[0].save(photos / "d.gif", save_all=True, append_images=frames[1:])
    out, _ = stylize(images=FOLDER)
    assert "\n  d.gif: the first of several frames\n" in out


def test_output_folder_must_differ_from_the_input(stylize: Stylize, photos: Path) -> None:
    assert (
        "out=photos contains the content images" in stylize("out=photos", images=FOLDER, code=2)[1]
    )
    assert "out= must be a folder too, not a.jpg" in stylize("out=a.jpg", images=FOLDER, code=2)[1]
    assert len(list(photos.iterdir())) == 5


def test_folder_json_is_one_line_per_image(stylize: Stylize, photos: Path) -> None:
    out, err = stylize("--json", images=FOLDER)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["image"] for line in lines] == [
        "photos_one/a.png",
        "photos_one/b.png",
        "photos_one/c.png",
    ]
    assert "photos_one: 3 stylized" in err
    (photos / "b.jpg").write_text("no image")
    (photos / "d.jpg").write_text("nor an image")
    lines = [json.loads(line) for line in stylize("--json", images=FOLDER, code=1)[0].splitlines()]
    assert [line["content"] for line in lines] == [
        f"photos/{name}" for name in ("a.png", "b.jpg", "c.PNG", "d.jpg")
    ]
    assert [line.get("already_exists", line.get("error", "")[:5]) for line in lines] == [
        True,
        "b.png",
        True,
        "photo",
    ]


def test_matched_colors_are_per_image(stylize: Stylize, photos: Path) -> None:
    blue = np.zeros((36, 48, 3), np.uint8) + np.array([20, 60, 220], np.uint8)
    Image.fromarray(blue).save(photos / "b.jpg")
    stylize("color=matched", images=FOLDER)
    stylize("color=matched", "out=alone.png", images=("photos/b.jpg", "one.png"))
    assert np.array_equal(
        *(np.asarray(Image.open(name)) for name in ("photos_one/b.png", "alone.png"))
    )


def test_folder_is_refused_where_an_image_is_needed(
    stylize: Stylize, photos: Path, image_folder: Path
) -> None:
    for flag in ("--reproduce", "--score"):
        _, err = stylize(flag, "one.png", images=FOLDER, code=2)
        assert err == "cnnlab: photos is a folder: --reproduce and --score take one image\n"
    (image_folder / "empty").mkdir()
    assert stylize(images=("empty", "one.png"), code=1)[1] == (
        "cnnlab: no images in empty (subfolders are not searched)\n"
    )
    assert (
        "photos cannot be read: it is a folder, not a file"
        in stylize(images=("photo.png", "photos"), code=1)[1]
    )
    assert not (image_folder / "empty_one").exists()
