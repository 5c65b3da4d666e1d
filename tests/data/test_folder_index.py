from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnnlab.core.errors import UsageError
from cnnlab.data.dataset import hold_out
from cnnlab.data.image_folder import image_folder
from tests.data.conftest import FOLDER_SETTINGS, list_relative_paths, load_folder, write_noise


def test_splits_are_disjoint_complete_and_seeded(root: Path) -> None:
    train_set, test_set = load_folder(root), load_folder(root, "test")
    train, validation = map(list_relative_paths, hold_out(train_set, count=0.25, seed=3))
    test = list_relative_paths(test_set)
    assert (len(train), len(validation), len(test)) == (18, 6, 6)
    assert len(train | validation | test) == 30
    assert list_relative_paths(load_folder(root, "test")) == test
    assert list_relative_paths(load_folder(root, "test", test_seed=1)) != test
    assert list_relative_paths(hold_out(train_set, count=0.25, seed=4)[1]) != validation
    assert len(load_folder(root, "test", test=7)) == 7
    with pytest.raises(
        UsageError, match=r"dataset.test must be between 1 and 29, or a share below 1, not 30"
    ):
        load_folder(root, test=30)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_split_folders_are_used_as_splits(tmp_path: Path, name: str) -> None:
    root = tmp_path / "split" / "root"
    for folder, count in (("train", 4), (name, 2), ("test", 3)):
        for class_name in ("x", "y"):
            for i in range(count):
                write_noise(root / folder / class_name / f"{i}.png", i)
    train, validation = hold_out(load_folder(root), count=0.5, seed=0)
    for image_set, folder, count in (
        (train, "train", 8),
        (validation, name, 4),
        (load_folder(root, "test"), "test", 6),
    ):
        assert {path.split("/")[0] for path in list_relative_paths(image_set)} == {folder}
        assert len(image_set) == count


def test_class_named_train(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        for i in range(5):
            write_noise(tmp_path / "root" / name / f"{i}.png", i)
    assert load_folder(tmp_path / "root").classes == ("bus", "train")


def test_hidden_nonimage_and_nested_files(root: Path) -> None:
    write_noise(root / "ant" / ".hidden.png")
    write_noise(root / ".cache" / "0.png")
    write_noise(root / "ant" / ".thumbs" / "0.png")
    (root / "ant" / "notes.txt").write_text("not an image")
    (root / "readme.md").write_text("no class")
    write_noise(root / "ant" / "more" / "deep.PNG")
    (root / "bee" / "folder.jpg").mkdir()
    (root / "cat" / "again").symlink_to(root / "cat")
    assert len(load_folder(root)) + len(load_folder(root, "test")) == 31


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": None}, "dataset.root is missing"),
        ({"root": "/nowhere"}, "dataset.root /nowhere is not a folder"),
        ({"max_images": 29}, "more than dataset.max_images=29 images"),
    ],
)
def test_invalid_root_raises_one_line_error(
    root: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        image_folder("train", **{"root": str(root), **FOLDER_SETTINGS, **changes})
    assert len(str(error.value).splitlines()) == 1


def test_empty_class_folder_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "dog\n").mkdir()
    (root / "dog\n" / "a.txt").write_text("no image")
    with pytest.raises(UsageError, match=r"class dog\\n below (.|\n)*1 skipped: of unknown suffix"):
        load_folder(root)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match="holds no folders of images"):
        load_folder(tmp_path / "bare")


def test_class_only_in_test_is_refused(tmp_path: Path) -> None:
    for name in ("train/x", "train/y", "test/new", "test/x"):
        write_noise(tmp_path / "root" / name / "0.png")
    with pytest.raises(UsageError, match=r"no images to train on of class new (.|\n)*are x, y"):
        load_folder(tmp_path / "root")


def test_formats_that_pillow_reads_are_images(root: Path) -> None:
    image = Image.new("RGB", (8, 8))
    names = {".jfif": "JPEG", ".jpe": "JPEG", ".avif": "AVIF", ".jp2": "JPEG2000", ".tga": "TGA"}
    for suffix, name in (names | {".apng": "PNG", ".JFIF": "JPEG", ".pnm": "PPM"}).items():
        image.save(root / "ant" / f"x{suffix}", name)
    assert len(load_folder(root)) + len(load_folder(root, "test")) == 38


def test_skipped_files_are_counted_by_reason(root: Path) -> None:
    (root / "ant" / "notes.txt").write_text("")
    (root / "bee" / "README").write_text("")
    (root / ".git").mkdir()
    write_noise(root / "loose.png")
    write_noise(root / "__MACOSX" / "0.png")
    assert dict(load_folder(root).report.skipped) == {
        "of unknown suffix (.txt)": 1,
        "without suffix": 1,
        "hidden": 1,
        "system folder __MACOSX": 1,
        "beside the folders, in no class folder": 1,
    }
