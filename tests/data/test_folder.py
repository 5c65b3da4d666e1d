import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.image import centred, read_picture
from cnnlab.data.augment import Pipeline
from cnnlab.data.batches import TrainingBatches
from cnnlab.data.folder import Files, folder
from cnnlab.data.pictures import by_name, hold_out, some

ROOT = Path(__file__).resolve().parents[2]
OURS = {"size": 8, "depth": 3, "test": 0.2, "test_seed": 0, "workers": 0, "skip_broken": False}
OURS |= {"max_pixels": 10_000, "max_pictures": 1000}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verdicts on broken pictures are kept, in a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cnnlab" / "checked"


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB", **options: Any) -> Path:
    """A picture of noise in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of ten pictures each."""
    for c, name in enumerate(("ant", "bee", "cat")):
        for i in range(10):
            draw(tmp_path / "root" / name / f"{i}.png", 100 * c + i)
    return tmp_path / "root"


def load(root: Path, split: str = "train", **changes: Any) -> Files:
    return folder(split, root=str(root), **OURS | changes)  # type: ignore[arg-type]


def names(files: Files) -> set[str]:
    return {os.path.relpath(path, files.paths[0].rsplit("root", 1)[0] + "root") for path in files.paths}


def test_classes_are_folders_and_pictures_are_what_the_files_hold(root: Path) -> None:
    files = load(root)
    assert files.classes == ("ant", "bee", "cat") and files.shape == (3, 8, 8) and len(files) == 24
    for i in (0, 10, 23):
        expected = np.asarray(Image.open(files.paths[i]))
        assert np.array_equal(some(files, [i])[0].permute(1, 2, 0).numpy(), expected)
        assert files.classes[files.labels[i]] == Path(files.paths[i]).parent.name


def test_the_splits_are_disjoint_whole_and_drawn_by_their_seeds(root: Path) -> None:
    train, test = load(root), load(root, "test")
    kept, held = hold_out(train, count=0.25, seed=3)
    assert (len(kept), len(held), len(test)) == (18, 6, 6)
    assert len(names(kept) | names(held) | names(test)) == 30
    assert names(load(root, "test")) == names(test) != names(load(root, "test", test_seed=1))
    assert names(hold_out(train, count=0.25, seed=4)[1]) != names(held)
    assert len(load(root, "test", test=7)) == 7
    with pytest.raises(UsageError, match=r"dataset.test must be between 1 and 29, or a share below 1, not 30"):
        load(root, test=30)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_folders_for_splits_are_taken_as_they_are(root: Path, tmp_path: Path, name: str) -> None:
    split = tmp_path / "split" / "root"
    for part, count in (("train", 4), (name, 2), ("test", 3)):
        for c in ("x", "y"):
            for i in range(count):
                draw(split / part / c / f"{i}.png", i)
    train, validation = hold_out(load(split), count=0.5, seed=0)
    assert {path.split("/")[0] for path in names(train)} == {"train"} and len(train) == 8
    assert {path.split("/")[0] for path in names(validation)} == {name} and len(validation) == 4
    assert {path.split("/")[0] for path in names(load(split, "test"))} == {"test"} and len(load(split, "test")) == 6


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        for i in range(5):
            draw(tmp_path / "root" / name / f"{i}.png", i)
    assert load(tmp_path / "root").classes == ("bus", "train")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
@pytest.mark.parametrize("depth", [1, 3])
def test_any_mode_is_read(tmp_path: Path, mode: str, depth: int) -> None:
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "PA": "tiff", "F": "tiff"}.get(mode, "png")
    for i in range(5):
        path = tmp_path / "root" / "c" / f"{i}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == "I;16":
            Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(path)
        elif mode == "PA":
            Image.new("LA", (8, 8), (128, 255)).save(path)
        else:
            Image.new("L", (8, 8), 128).convert("RGB" if mode in ("CMYK", "YCbCr") else "L").convert(mode).save(path)
    found = some(load(tmp_path / "root", depth=depth), [0, 1])
    assert found.shape == (2, depth, 8, 8)
    assert mode == "1" or (found.int() - 128).abs().max() <= 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_turns_are_applied(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[274] = turn
    for i in range(5):
        path = draw(tmp_path / "root" / "c" / f"{i}.png", i, (12, 8), exif=exif)
    expected = centred(ImageOps.exif_transpose(Image.open(path)), 8)
    files = load(tmp_path / "root", test=1)
    at = files.paths.index(str(path)) if str(path) in files.paths else None
    if at is not None:
        assert np.array_equal(some(files, [at])[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_sizes_are_torchvisions(tmp_path: Path) -> None:
    from torchvision import transforms

    for i, size in enumerate([(20, 31), (31, 20), (8, 9), (200, 9), (5, 7), (8, 8)]):
        path = draw(tmp_path / f"{i}.png", i, size)
        theirs = transforms.Compose([transforms.Resize(8), transforms.CenterCrop(8)])(Image.open(path))
        assert np.array_equal(np.asarray(centred(read_picture(path), 8)), np.asarray(theirs)), size


def test_a_large_jpeg_is_decoded_smaller_to_nearly_the_same(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(600), np.arange(800))[..., None] * np.array([0.1, 0.15, 0.18])
    path = tmp_path / "x.jpg"
    Image.fromarray(smooth.astype(np.uint8)).save(path, quality=95)
    fast, slow = (np.asarray(centred(read_picture(path, side=side), 32)).astype(int) for side in (32, None))
    assert abs(fast - slow).max() <= 3


def test_hidden_foreign_and_nested_files(root: Path) -> None:
    draw(root / "ant" / ".hidden.png")
    draw(root / ".cache" / "0.png")
    draw(root / "ant" / ".thumbs" / "0.png")
    (root / "ant" / "notes.txt").write_text("no picture")
    (root / "readme.md").write_text("no class")
    draw(root / "ant" / "more" / "deep.PNG")
    (root / "bee" / "folder.jpg").mkdir()
    (root / "cat" / "again").symlink_to(root / "cat")
    assert len(load(root)) + len(load(root, "test")) == 31


@pytest.mark.parametrize("workers", [0, 2])
def test_every_broken_picture_is_listed_before_anything_begins(
    root: Path, cache: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = draw(root / "ant" / "cut.jpg", 1, (64, 64)).read_bytes()
    (root / "ant" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "bee" / "empty.png").write_bytes(b"")
    (root / "bee" / "new\nline.png").write_text("<script>")
    (root / "cat" / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    draw(root / "cat" / "large.png", 1, (101, 100))
    with pytest.raises(CnnlabError) as error:
        load(root, workers=workers)
    lines = str(error.value).splitlines()
    expected = ["cut", "empty", "new\\nline", "large", "program"]
    assert [name in line for name, line in zip(expected, lines[:5], strict=True)] == [True] * 5
    assert lines[5] == "5 pictures are broken; dataset.skip_broken=true goes on without"
    assert "10,100 pixels; the limit is 10,000" in lines[3]
    files = load(root, workers=workers, skip_broken=True)
    assert len(files) + len(load(root, "test", skip_broken=True)) == 30
    assert "5 pictures are broken and left out, of 35" in capsys.readouterr().out


def test_a_bomb_is_refused_by_its_head(root: Path) -> None:
    path = draw(root / "ant" / "bomb.png", mode="1")
    blob = path.read_bytes()
    head = blob[12:16] + (50_000).to_bytes(4, "big") * 2 + blob[24:29]  # IHDR, and what its checksum covers
    path.write_bytes(blob[:12] + head + zlib.crc32(head).to_bytes(4, "big") + blob[33:])
    began = time.monotonic()
    with pytest.raises(CnnlabError, match=r"bomb\.png (has 2,500,000,000 pixels|cannot be read: Image size)"):
        load(root)
    assert time.monotonic() - began < 5


def test_the_verdict_is_kept_until_a_file_changes(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(root)
    (verdict,) = cache.iterdir()
    assert json.loads(verdict.read_text()) == {}
    with monkeypatch.context() as patch:
        patch.setattr("cnnlab.data.folder.decoded", lambda *_: pytest.fail("looked through again"))
        load(root)
    verdict.write_bytes(b"\x80\x04damaged")
    load(root)
    (root / "ant" / "0.png").write_bytes(b"broken since")
    with pytest.raises(CnnlabError, match="1 picture is broken"):
        load(root)


def test_a_cache_that_cannot_be_written_is_no_matter(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    assert len(load(root)) == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": None}, "dataset.root is missing"),
        ({"root": "/nowhere"}, "dataset.root /nowhere is not a folder"),
        ({"max_pictures": 29}, "more than dataset.max_pictures=29 pictures"),
    ],
)
def test_a_root_that_cannot_be_is_one_line(root: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        folder("train", **{"root": str(root), **OURS, **change})
    assert len(str(error.value).splitlines()) == 1


def test_folders_without_pictures_are_named(root: Path, tmp_path: Path) -> None:
    (root / "dog\n").mkdir()
    with pytest.raises(UsageError, match=r"no pictures to train on below .* of class dog\\n$"):
        load(root)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match="holds no folders of pictures"):
        load(tmp_path / "bare")
    for part in ("train", "val", "valid"):
        draw(tmp_path / "twice" / part / "x" / "0.png")
    with pytest.raises(UsageError, match="val and test once at most"):
        load(tmp_path / "twice")
    draw(tmp_path / "apart" / "train" / "x" / "0.png")
    draw(tmp_path / "apart" / "test" / "new" / "0.png")
    with pytest.raises(UsageError, match="of class new"):
        load(tmp_path / "apart")


def batches(files: Files, start: int = 0) -> list[torch.Tensor]:
    pipeline = Pipeline({"shift": {"px": 1}}, "augment.train")
    made = TrainingBatches(files, pipeline, batch_size=5, seed=1)
    return [torch.cat((x.flatten(1), y.unsqueeze(1)), 1) for x, y in made.epoch(2, start)]


def test_workers_change_nothing_and_an_epoch_begins_anywhere(root: Path) -> None:
    alone = batches(load(root))
    assert len(alone) == 4
    for workers in (1, 2, 9):
        files = load(root, workers=workers)
        for start in (0, 3):
            assert all(torch.equal(a, b) for a, b in zip(batches(files, start), alone[start:], strict=True))


def test_dropouts_generator_is_left_alone(root: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for workers in (0, 2):
        batches(load(root, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def children() -> set[str]:
    """The processes that this one has begun and that are still there."""
    return {path.parts[2] for path in Path("/proc").glob("[0-9]*/stat") if parent(path) == os.getpid()}


def parent(stat: Path) -> int:
    try:
        fields = stat.read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[1]) if fields[0] != "Z" else 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_no_worker_outlives_an_epoch_that_was_broken_off(root: Path) -> None:
    before = children()
    made = TrainingBatches(load(root, workers=2), Pipeline({}, "augment.train"), batch_size=2, seed=1)
    epoch = made.epoch(0)
    next(epoch)
    assert len(children() - before) == 2
    epoch.close()  # type: ignore[attr-defined]
    assert not children() - before


def test_a_process_ends_though_it_never_let_go_of_its_batches(root: Path) -> None:
    code = f"from tests.data.test_folder import *; files = load(Path({str(root)!r}), workers=2)\n"
    code += "batches = files.stream(torch.arange(20).split(2)); next(batches); print('done')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_goes_away_is_one_line(root: Path, workers: int) -> None:
    files = load(root, workers=workers)
    Path(files.paths[0]).unlink()
    with pytest.raises(CnnlabError) as error:
        batches(files)
    assert str(error.value) == f"no picture {files.paths[0]}"


def test_labels_go_by_name(root: Path) -> None:
    files = load(root)
    other = by_name(files, ("cat", "dog", "bee", "ant"))
    assert [other.classes[i] for i in other.labels] == [files.classes[i] for i in files.labels]
    with pytest.raises(UsageError, match="the run knows no class cat; it knows ant, bee"):
        by_name(files, ("ant", "bee"))


@pytest.mark.data
@pytest.mark.parametrize("size", [64, 48])
def test_tiny_imagenets_pictures_are_torchvisions(real_data: Path, size: int) -> None:
    from torchvision import datasets, transforms

    place = real_data / "tiny_imagenet" / "val"
    if not place.exists():
        pytest.skip(f"tiny_imagenet is not in {real_data}")
    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()]
    theirs = datasets.ImageFolder(str(place), transforms.Compose(steps))
    ours = load(place, size=size, test=1, max_pixels=10**6, max_pictures=10**6, workers=2)
    assert ours.classes == tuple(theirs.classes)
    where = {path: i for i, (path, _) in enumerate(theirs.samples)}
    for i in range(0, len(ours), 97):
        picture, label = theirs[where[ours.paths[i]]]
        assert torch.equal(some(ours, [i])[0], picture) and int(ours.labels[i]) == label
