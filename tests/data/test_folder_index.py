from pathlib import Path
from typing import Any

import pytest

from cnnlab.core.errors import UsageError
from cnnlab.data.dataset import hold_out
from cnnlab.data.image_folder import image_folder
from tests.data.conftest import OURS, draw, load, names


def test_splits_are_disjoint_complete_and_seeded(root: Path) -> None:
    train, test = load(root), load(root, "test")
    kept, held = hold_out(train, count=0.25, seed=3)
    assert (len(kept), len(held), len(test)) == (18, 6, 6)
    assert len(names(kept) | names(held) | names(test)) == 30
    assert names(load(root, "test")) == names(test) != names(load(root, "test", test_seed=1))
    assert names(hold_out(train, count=0.25, seed=4)[1]) != names(held)
    assert len(load(root, "test", test=7)) == 7
    with pytest.raises(
        UsageError, match=r"dataset.test must be between 1 and 29, or a share below 1, not 30"
    ):
        load(root, test=30)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_split_folders_are_used_as_splits(root: Path, tmp_path: Path, name: str) -> None:
    split = tmp_path / "split" / "root"
    for part, count in (("train", 4), (name, 2), ("test", 3)):
        for c in ("x", "y"):
            for i in range(count):
                draw(split / part / c / f"{i}.png", i)
    train, validation = hold_out(load(split), count=0.5, seed=0)
    assert {path.split("/")[0] for path in names(train)} == {"train"} and len(train) == 8
    assert {path.split("/")[0] for path in names(validation)} == {name} and len(validation) == 4
    assert {path.split("/")[0] for path in names(load(split, "test"))} == {"test"} and len(
        load(split, "test")
    ) == 6


def test_class_named_train(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        for i in range(5):
            draw(tmp_path / "root" / name / f"{i}.png", i)
    assert load(tmp_path / "root").classes == ("bus", "train")


def test_hidden_nonimage_and_nested_files(root: Path) -> None:
    draw(root / "ant" / ".hidden.png")
    draw(root / ".cache" / "0.png")
    draw(root / "ant" / ".thumbs" / "0.png")
    (root / "ant" / "notes.txt").write_text("no picture")
    (root / "readme.md").write_text("no class")
    draw(root / "ant" / "more" / "deep.PNG")
    (root / "bee" / "folder.jpg").mkdir()
    (root / "cat" / "again").symlink_to(root / "cat")
    assert len(load(root)) + len(load(root, "test")) == 31


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": None}, "dataset.root is missing"),
        ({"root": "/nowhere"}, "dataset.root /nowhere is not a folder"),
        ({"max_images": 29}, "more than dataset.max_images=29 images"),
    ],
)
def test_invalid_root_raises_one_line_error(
    root: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        image_folder("train", **{"root": str(root), **OURS, **change})
    assert len(str(error.value).splitlines()) == 1


def test_invalid_folder_structure_raises(root: Path, tmp_path: Path) -> None:
    (root / "dog\n").mkdir()
    with pytest.raises(UsageError, match=r"no images to train on below .* of class dog\\n$"):
        load(root)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match="holds no folders of images"):
        load(tmp_path / "bare")
    for part in ("train", "val", "valid"):
        draw(tmp_path / "twice" / part / "x" / "0.png")
    with pytest.raises(UsageError, match="at most one folder each for val and test"):
        load(tmp_path / "twice")
    draw(tmp_path / "apart" / "train" / "x" / "0.png")
    draw(tmp_path / "apart" / "test" / "new" / "0.png")
    with pytest.raises(UsageError, match="of class new"):
        load(tmp_path / "apart")
