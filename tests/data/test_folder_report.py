from pathlib import Path

import pytest
import torch

from cnnlab.core.display_text import count_columns
from cnnlab.data.dataset import hold_out
from cnnlab.data.folder_report import (
    FolderReport,
    describe_absent_classes,
    describe_folder_images,
    describe_left_out,
    format_class_counts,
)
from cnnlab.data.sources import digits
from tests.data.conftest import load_folder, write_noise


def test_images_are_counted_by_class_and_split(root: Path) -> None:
    write_noise(root / "one" / "0.png", 999)
    (root / "one" / "a.txt").write_text("")
    train, validation = hold_out(load_folder(root), count=0.25, seed=0)
    assert describe_folder_images(train, validation) == [
        "4 classes                           training  validation        test",
        "  ant                                      6           2           2",
        "  bee                                      6           2           2",
        "  cat                                      6           2           2",
        "  one                                      1           0           0",
        "no validation images of class one",
        "no test images of class one",
        "skipped: 1 of unknown suffix (.txt)",
    ]
    assert describe_folder_images(digits("train", root=None), digits("test", root=None)) == []


def test_many_classes_are_a_few_lines_of_80_columns() -> None:
    classes = [f"a rather long name of a class, number {i}" for i in range(1000)]
    counts = {"training": list(range(1000)), "validation": [0] * 1000, "test": [9] * 1000}
    lines = format_class_counts(classes, counts)
    assert len(lines) < 20 and max(map(len, lines)) <= 80
    assert "1,000 classes, the 4 largest" in lines[0] and " 999 " in lines[1]


def test_names_of_any_script_are_aligned() -> None:
    classes = ["cat", "犬と猫の写真", "x" * 59 + "1", "x" * 59 + "2"]
    _, *lines = format_class_counts(classes, {"training": [1] * 4, "test": [2] * 4})
    assert [count_columns(line) for line in lines] == [56] * 4
    assert lines[2] != lines[3]


def test_long_reasons_are_wrapped(root: Path) -> None:
    for i in range(9):
        (root / "ant" / f"0.reason{i}").write_text("")
    lines = describe_left_out(load_folder(root))
    assert max(map(len, lines)) <= 80 and "4 others" in lines[-1]


def test_same_file_in_train_and_test_is_reported(root: Path) -> None:
    blob = (root / "ant" / "0.png").read_bytes()
    for split in ("train", "test"):
        for i, name in enumerate(("ant", "bee")):
            write_noise(root / "apart" / split / name / "0.png", 10 * i + len(split))
    (root / "apart" / "train" / "ant" / "1.png").write_bytes(blob)
    (root / "apart" / "test" / "bee" / "2.png").write_bytes(blob)
    report = load_folder(root / "apart").report
    assert isinstance(report, FolderReport)
    assert report.copies == (
        "1 test image is also in training or validation (equal files), such as",
        "  test/bee/2.png",
        "  train/ant/1.png",
        "1 image is of two classes (equal files), such as",
        "  test/bee/2.png",
        "  train/ant/1.png",
    )
    assert load_folder(root / "apart").report.copies == report.copies, "from the cache"


@pytest.mark.parametrize("has_folder", [False, True])
def test_same_file_in_train_and_validation_is_reported(root: Path, *, has_folder: bool) -> None:
    for name in ("ant", "bee"):
        for i in range(10):
            write_noise(root / "both" / "train" / name / f"{i}.png", i)
            if has_folder:
                write_noise(root / "both" / "val" / name / f"{i}.png", i + 5)
    train, validation = hold_out(load_folder(root / "both"), count=0.25, seed=0)
    lines = describe_folder_images(train, validation)
    (index,) = (i for i, line in enumerate(lines) if "also in training (equal" in line)
    folder = "val" if has_folder else "train"
    assert "validation images are also in training (equal files), such as" in lines[index]
    assert lines[index + 1].startswith(f"  {folder}/")
    assert lines[index + 2].startswith("  train/")


def test_classes_without_images_are_named(root: Path) -> None:
    train = load_folder(root)
    few = train.take(torch.arange(8))
    assert describe_absent_classes(train, "test") == []
    assert describe_absent_classes(few, "test") == ["no test images of 2 classes: bee, cat"]
