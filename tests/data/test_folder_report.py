from pathlib import Path

from cnnlab.data.dataset import hold_out
from cnnlab.data.folder_report import (
    FolderReport,
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
        "skipped: 1 no image by name (.txt)",
    ]
    assert describe_folder_images(digits("train", root=None), digits("test", root=None)) == []


def test_many_classes_are_a_few_lines_of_80_columns() -> None:
    classes = [f"a rather long name of a class, number {i}" for i in range(1000)]
    counts = {"training": list(range(1000)), "validation": [0] * 1000, "test": [9] * 1000}
    lines = format_class_counts(classes, counts)
    assert len(lines) < 20 and max(map(len, lines)) <= 80
    assert "1,000 classes, the 4 largest" in lines[0] and " 999 " in lines[1]


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
