"""Folders that can be read as classes or as splits."""

import unicodedata
from pathlib import Path

import pytest

from cnnlab.core.errors import UsageError
from tests.data.conftest import list_relative_paths, load_folder, write_noise


def make_folders(root: Path, *names: str, count: int = 4) -> Path:
    """Write images of noise into folders below a root; return it."""
    for seed, name in enumerate(names):
        for i in range(count):
            write_noise(root / name / f"{i}.png", 100 * seed + i)
    return root


def test_capitalized_split_folders_are_splits(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "root", "Train/cat", "Train/dog", "TEST/cat", "TEST/dog")
    train, test = load_folder(root), load_folder(root, "test")
    assert train.classes == ("cat", "dog")
    assert {path.split("/")[0] for path in list_relative_paths(train)} == {"Train"}
    assert {path.split("/")[0] for path in list_relative_paths(test)} == {"TEST"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["photos/cat", "photos/dog"], r"one class, photos; (.|\n)*dataset.root=root/photos"),
        (["a/b/cat", "a/b/dog"], r"one class, a; (.|\n)*with cat, dog as (.|\n)*=root/a/b"),
        (["cat"], r"one class, cat; (.|\n)*put a folder beside it"),
        (["train/cat", "val/cat"], r"one class, cat; (.|\n)*put a folder beside it"),
        (
            ["train/a", "train/b", "val/a", "predict"],
            r"train, val, and also predict(.|\n)*layout=splits\nas 3 classes: dataset.layout=class",
        ),
        (["train/a", "train/b", "test"], r"also test \(images in no class folder: test\)"),
        (["train", "test"], r"train in root hold images, and no class folders"),
        (["train/train/a", "train/train/b"], r"as splits: dataset.root=root/train\n"),
        (["train/train/a", "train/test/a", "train/train/b"], r"root/train holds splits itself"),
        (["seg_train/a", "seg_train/b", "seg_test/a", "seg_test/b"], r"all hold a, b\nas 2 cl"),
        (["cat/train", "cat/test", "dog/train", "dog/test"], r"splits are test, train: put"),
        (["train/a", "Train/b"], r"at most one folder each"),
        (["val/a", "test/a"], r"it needs train"),
        (["Cat", "cat"], r"case only(.|\n)*as two classes: dataset.layout=classes"),
        (["train/Cat", "train/cat"], r"case only(.|\n)*as two classes: dataset.layout=splits"),
        (["cat/dog", "dog"], r"cat/dog in root: of which class"),
    ],
)
def test_ambiguous_folders_are_refused_with_both_readings(
    here: Path, names: list[str], message: str
) -> None:
    make_folders(here / "root", *names)
    with pytest.raises(UsageError, match=message):
        load_folder(here / "root")


def test_layout_chooses_between_two_readings(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "root", "train/a", "train/b", "val/a", "predict")
    assert load_folder(root, layout="classes").classes == ("predict", "train", "val")
    splits = load_folder(root, layout="splits")
    assert splits.classes == ("a", "b")
    assert splits.report.skipped == (("in predict, in no class folder", 4),)
    twins = make_folders(tmp_path / "twins", "Cat", "cat", "cat/Cat")
    assert load_folder(twins, layout="classes").classes == ("Cat", "cat")


def test_stray_folders_beside_splits_are_ignored_and_named(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "root", "train/a", "train/b", "val/a", "val/b")
    (root / "extra").mkdir()
    (root / ".ipynb_checkpoints").mkdir()
    write_noise(root / "__MACOSX" / "train" / "0.png")
    report = load_folder(root).report
    assert report.ignored == ("extra",)
    assert dict(report.skipped) == {"hidden": 1, "system folder __MACOSX": 1}


def test_composed_and_decomposed_names_are_one_class(tmp_path: Path) -> None:
    """As where one split was packed on macOS."""
    names = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    root = make_folders(tmp_path / "root", f"train/{names[0]}", "train/x", f"test/{names[1]}")
    assert load_folder(root).classes == (names[0], "x")
    assert load_folder(root, "test").labels.tolist() == [0] * 4


def test_linked_class_folders(tmp_path: Path) -> None:
    store = make_folders(tmp_path / "store", "a", "b")
    root = tmp_path / "root"
    root.mkdir()
    for name in "ab":
        (root / name).symlink_to(store / name)
    (root / "loop").symlink_to(root)
    (root / "a" / "up").symlink_to(store)
    with pytest.raises(UsageError, match="of which class"):
        load_folder(root)
    (root / "a" / "up").unlink()
    files = load_folder(root)
    assert files.classes == ("a", "b") and len(files) == 6
    assert files.report.skipped == (("link to a folder above it (loop)", 1),)
    (root / "c").symlink_to(store / "a")
    with pytest.raises(UsageError, match=r"a and c in .* are one folder, by a link"):
        load_folder(root)


def test_many_links_end(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "root", "a", "b")
    for i in range(12):
        folder = root / "a" / f"f{i}"
        folder.mkdir()
        for j in range(12):
            (folder / f"l{j}").symlink_to(root / "a" / f"f{j}")
    assert len(load_folder(root)) == 6
