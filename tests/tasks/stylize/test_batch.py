import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.style.budget import TransferBudget
from cnnlab.style.memory_plan import MemoryPlan
from cnnlab.style.tiled_loss import TransferLoss
from cnnlab.tasks.stylize.batch import make_unique_stems

Paint = Any


@pytest.fixture
def photos(studio: Path) -> Path:
    """Three photographs of one size in a folder, and what is none."""
    folder = studio / "photos"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.jpg", "c.PNG")):
        image = Image.open(studio / "photo.png").rotate(180 * (number % 2))
        image.save(folder / name, format="JPEG" if name.endswith("jpg") else "PNG")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture")
    return folder


FOLDER = ("photos", "one.png")


def test_every_photograph_of_a_folder_is_painted_as_it_would_be_alone(
    paint: Paint, photos: Path
) -> None:
    out, err = paint(pictures=FOLDER)
    assert err == "" and out.startswith("cnnlab stylize: 3 photographs in the style of one.png\n")
    assert "\n1/3  a.png  48x36  content " in out and out.endswith(
        "\nphotos_one: 3 painted, 0 there already, 0 failed\n"
    )
    assert all(len(line) <= 80 for line in out.splitlines())
    painted = sorted(Path("photos_one").iterdir())
    assert [one.name for one in painted] == ["a.png", "b.png", "c.png"]
    paint("out=alone.png", pictures=("photos/a.png", "one.png"))
    assert painted[0].read_bytes() == Path("alone.png").read_bytes()
    assert sorted(one.name for one in photos.iterdir()) == [
        ".hidden.png",
        "a.png",
        "b.jpg",
        "c.PNG",
        "notes.txt",
    ]


def test_what_is_done_is_left_and_what_is_not_is_done(paint: Paint, photos: Path) -> None:
    paint(pictures=FOLDER)
    before = {one: one.stat().st_mtime_ns for one in Path("photos_one").iterdir()}
    Image.open("two.png").save(photos / "d.png")
    Path("photos_one/b.png").unlink()
    out, _ = paint(pictures=FOLDER)
    assert (
        "1/4  a.png  there already" in out
        and "photos_one: 2 painted, 2 there already, 0 failed" in out
    )
    assert all(one.stat().st_mtime_ns == at for one, at in before.items() if one.name != "b.png")
    Image.open("two.png").save(photos / "a.png")  # another photograph under the old name
    out, err = paint(pictures=FOLDER, code=1)
    assert err == "cnnlab: 1 of 4 could not be painted: a.png\n"
    assert (
        "a.png  failed: a.png is there, made otherwise: --overwrite replaces it, out=DIR leaves it\n"
        in out
    )
    assert "1 painted, 3 there already" in paint("--overwrite", pictures=FOLDER)[0]


def test_other_settings_are_not_taken_for_done(paint: Paint, photos: Path) -> None:
    paint(pictures=FOLDER)
    before = Path("photos_one/a.png").read_bytes()
    out, err = paint("strength=0.3", pictures=FOLDER, code=1)
    assert (
        err == "cnnlab: 3 of 3 could not be painted: a.png, b.jpg, c.PNG\n"
        and out.count("made otherwise") == 3
    )
    assert Path("photos_one/a.png").read_bytes() == before
    assert "3 painted" in paint("strength=0.3", "out=other/place", pictures=FOLDER)[0]
    assert len(list(Path("other/place").iterdir())) == 3


def test_one_that_fails_is_told_at_the_end_and_the_others_are_painted(
    paint: Paint, photos: Path
) -> None:
    (photos / "a.png").write_text("not a picture")
    out, err = paint(pictures=FOLDER, code=1)
    assert (
        "1/3  a.png  failed: photos/a.png is not a picture" in out
        and "2 painted, 0 there already, 1 failed" in out
    )
    assert err == "cnnlab: 1 of 3 could not be painted: a.png\n"


def test_names_that_differ_by_their_ending_alone_keep_it(paint: Paint, photos: Path) -> None:
    for name in (
        "a.tiff",
        "a.png.bmp",
    ):  # the second one's own name is what the first's would become
        Image.open("two.png").save(photos / name)
    paint(pictures=FOLDER)
    names = ["a.png.bmp.png", "a.png.png", "a.tiff.png", "b.png", "c.png"]
    assert sorted(one.name for one in Path("photos_one").iterdir()) == names


def test_no_two_pictures_have_one_name_whatever_the_disk_makes_of_capitals() -> None:
    def named(*names: str) -> list[str]:
        return make_unique_stems([Path(name) for name in names])

    assert named("IMG.jpg", "img.JPG", "img.jpg") == ["IMG.jpg", "img.JPG_2", "img.jpg_3"]
    assert named("a.png", "A.JPG", "b.png") == ["a.png", "A.JPG", "b"]
    assert named("a.png", "a.tiff", "a.png.bmp") == ["a.png", "a.tiff", "a.png.bmp"]
    assert len({name.lower() for name in named("a.png", "A.PNG", "a.png.bmp", "a.png_2.bmp")}) == 4


def test_a_folder_is_named_after_both_whatever_they_are_called(
    paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("one.png").rename("one.png.jpg")
    paint(pictures=("photos", "one.png.jpg"))
    assert len(list(Path("photos_one.png").iterdir())) == 3
    _, err = paint(pictures=("/", "two.png"), code=2)
    assert err == "cnnlab: / has no name to call a folder by: out=DIR names one\n"


def test_what_memory_made_smaller_is_done_until_there_is_more(
    paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = MemoryPlan((27, 36), 1 << 40, 20)
    with monkeypatch.context() as little:
        little.setattr("cnnlab.tasks.stylize.setup.room", lambda *_: small)
        assert "free memory holds 36x27 pixels, not 48x36" in paint(pictures=FOLDER)[0]
        assert "0 painted, 3 there already, 0 failed" in paint(pictures=FOLDER)[0]
    out, _ = paint(pictures=FOLDER, code=1)
    assert "failed: a.png is there, smaller than memory holds now: --overwrite replaces it" in out
    assert "3 painted" in paint("--overwrite", pictures=FOLDER)[0]
    assert "3 there already" in paint("--overwrite", pictures=FOLDER)[0]


def test_the_painting_is_looked_at_once_for_each_size(
    paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.open("photo.png").crop((0, 0, 48, 48)).save(
        photos / "aa.png"
    )  # of another shape, in between
    before, looks = TransferLoss.compute_statistics, list[Any]()

    def seen(self: TransferLoss, x: Any) -> Any:
        looks.append(tuple(x.shape[2:]))
        return before(self, x)

    monkeypatch.setattr(TransferLoss, "compute_statistics", seen)
    paint(pictures=FOLDER)
    assert (
        len(looks) == 2 * 4 + 2 * 2
    )  # two scales: each photograph, and for each shape the painting once


def test_ctrl_c_leaves_out_the_picture_at_hand_and_the_next_time_goes_on(
    paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, asked = TransferBudget.should_stop, 0

    def enough(self: TransferBudget, scale: int, step: int) -> bool:
        nonlocal asked
        asked += 1
        if asked == 9:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, scale, step)

    monkeypatch.setattr(TransferBudget, "should_stop", enough)
    _, err = paint(pictures=FOLDER, code=130)
    assert err == "cnnlab: stopped, b.jpg left out; run again, it goes on\n"
    assert [one.name for one in Path("photos_one").iterdir()] == ["a.png"]
    assert "2 painted, 1 there already, 0 failed" in paint(pictures=FOLDER)[0]


@pytest.mark.parametrize("when", [7, 8])
def test_ctrl_c_at_the_last_step_or_while_it_is_saved_keeps_the_picture(
    paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    before, asked = TransferBudget.should_stop, 0

    def enough(self: TransferBudget, scale: int, step: int) -> bool:
        nonlocal asked
        asked += 1
        if asked == when == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, scale, step)

    def conclude(*_: object) -> None:
        if when == 8:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TransferBudget, "should_stop", enough)
    monkeypatch.setattr("cnnlab.tasks.stylize.log.TransferLog.write_result", conclude)
    _, err = paint(pictures=FOLDER, code=130)
    assert err == "cnnlab: stopped, a.png painted; run again, it goes on\n"


def test_odd_names_do_not_end_a_folder(paint: Paint, photos: Path) -> None:
    whole = (photos / "a.png").read_bytes()
    (photos / ("n" * 245 + ".png")).write_bytes(whole)
    with suppress(OSError):  # a file system that takes no such bytes
        Path(os.fsdecode(os.fsencode(photos) + b"/odd\xff.png")).write_bytes(whole)
    out, err = paint(pictures=FOLDER, code=1)
    assert "File name too long" in out and err.startswith("cnnlab: 1 of ") and "1 failed" in out
    assert {"a.png", "b.png", "c.png"} < {one.name for one in Path("photos_one").iterdir()}


def test_a_picture_that_was_stopped_is_not_taken_for_done(
    paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(pictures=FOLDER)
    before = TransferBudget.should_stop

    def enough(self: TransferBudget, scale: int, step: int) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return before(self, scale, step)

    with monkeypatch.context() as stopping:
        stopping.setattr(TransferBudget, "should_stop", enough)
        paint("out=photos_one/a.png", "--overwrite", pictures=("photos/a.png", "one.png"), code=130)
    assert "a.png is there, made otherwise" in paint(pictures=FOLDER, code=1)[0]
    assert "1 painted, 2 there already" in paint("--overwrite", pictures=FOLDER)[0]


def test_what_is_to_be_said_of_a_photograph_stands_below_it(paint: Paint, photos: Path) -> None:
    frames = [Image.open("photo.png").rotate(90 * n) for n in range(2)]
    frames[0].save(photos / "d.gif", save_all=True, append_images=frames[1:])
    out, _ = paint(pictures=FOLDER)
    assert "\n  d.gif: the first of 2 frames\n" in out


def test_results_go_where_they_are_no_photographs(paint: Paint, photos: Path) -> None:
    assert (
        "out=photos is where the photographs are" in paint("out=photos", pictures=FOLDER, code=2)[1]
    )
    assert "so must out= be, not a.jpg" in paint("out=a.jpg", pictures=FOLDER, code=2)[1]
    assert len(list(photos.iterdir())) == 5


def test_json_is_a_line_for_each(paint: Paint, photos: Path) -> None:
    out, err = paint("--json", pictures=FOLDER)
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["picture"] for one in found] == [
        "photos_one/a.png",
        "photos_one/b.png",
        "photos_one/c.png",
    ]
    assert "photos_one: 3 painted" in err
    (photos / "b.jpg").write_text("no picture")
    (photos / "d.jpg").write_text("nor this")
    found = [json.loads(line) for line in paint("--json", pictures=FOLDER, code=1)[0].splitlines()]
    assert [one["photograph"] for one in found] == [
        f"photos/{name}" for name in ("a.png", "b.jpg", "c.PNG", "d.jpg")
    ]
    assert [one.get("there", one.get("error", "")[:5]) for one in found] == [
        True,
        "b.png",
        True,
        "photo",
    ]


def test_colours_of_each_photograph_are_its_own(paint: Paint, photos: Path) -> None:
    blue = np.zeros((36, 48, 3), np.uint8) + np.array([20, 60, 220], np.uint8)
    Image.fromarray(blue).save(photos / "b.jpg")
    paint("color=matched", pictures=FOLDER)
    paint("color=matched", "out=alone.png", pictures=("photos/b.jpg", "one.png"))
    assert np.array_equal(
        *(np.asarray(Image.open(name)) for name in ("photos_one/b.png", "alone.png"))
    )


def test_a_folder_is_no_photograph_where_one_is_needed(
    paint: Paint, photos: Path, studio: Path
) -> None:
    for flag in ("--reproduce", "--score"):
        _, err = paint(flag, "one.png", pictures=FOLDER, code=2)
        assert err == "cnnlab: photos is a folder: --reproduce and --score take one photograph\n"
    (studio / "empty").mkdir()
    assert paint(pictures=("empty", "one.png"), code=1)[1] == (
        "cnnlab: there are no pictures in empty itself: folders in it are not looked into\n"
    )
    assert "photos is a folder, not a picture" in paint(pictures=("photo.png", "photos"), code=1)[1]
    assert not (studio / "empty_one").exists()
