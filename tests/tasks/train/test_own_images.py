"""A user's own images on the command line: processes, workers, signals, hostile names."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from cnnlab.core import checkpoint
from cnnlab.core.run import read_metrics
from cnnlab.data.build import load_dataset
from cnnlab.data.sources import digits
from tests.conftest import Cnnlab
from tests.fork_server import Forks
from tests.tasks.train.test_interruptions import assert_same, nobody_left, run_in

NAMES = [
    "<b>0",
    "[red]1",
    "two\nlines",
    "3..",
    "-4",
    "${now:}",
    "six\x1b[31m",
    "$7^{$",
    "8'\"",
    "9,=%s\udcff",
]


def lay_out(root: Path, names: list[str], count: int = 300) -> Path:
    """Write the first digits as PNG files, in a folder for each of ten classes."""
    dataset = digits("train", root=None)
    for i in range(count):
        path = root / names[int(dataset.labels[i])] / f"{i:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.images[i, 0].numpy()).save(path)
    return root


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lay_out(tmp_path / "mine", list("0123456789"))


def words(root: Path, workers: int = 2, epochs: int = 3) -> list[str]:
    own = [
        f"dataset.root={root}",
        f"dataset.workers={workers}",
        "dataset.size=8",
        "dataset.depth=1",
    ]
    own += [
        "dataset.mean=[0.3]",
        "dataset.std=[0.4]",
        "augment=shift",
        f"epochs={epochs}",
        "log_every=3",
    ]
    return [
        "train",
        "dataset=folder",
        *own,
        "model.filters=[4,4]",
        "model.hidden=[8]",
        "batch_size=10",
    ]


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The images, and an uninterrupted run on them without workers."""
    folder = tmp_path_factory.mktemp("whole")
    root = lay_out(folder / "mine", list("0123456789"))
    code, log = forks.run(folder / "runs", *words(root, workers=0))
    assert code == 0, log
    return root, run_in(folder / "runs")


@pytest.mark.parametrize(
    "kind",
    [
        None,
        signal.SIGKILL,
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in (signal.SIGINT, signal.SIGTERM)),
    ],
)
def test_run_with_workers_equals_run_without(
    forks: Forks, tmp_path: Path, whole: tuple[Path, Path], kind: signal.Signals | None
) -> None:
    """Undisturbed, or after a signal to the whole process group, as terminals send it."""
    number = forks.start(tmp_path, *words(whole[0]), "save_every_minutes=1e-9")
    if kind is not None:
        while not list(tmp_path.glob("outputs/train/*/checkpoints/step*")):
            time.sleep(0.005)
        os.killpg(number, kind)
    code, log = forks.wait(number), (tmp_path / "log.txt").read_text()
    expected = 0 if kind is None else -kind if kind is signal.SIGKILL else 128 + kind
    assert code == expected and "Traceback" not in log and nobody_left(number), log
    if kind is not None:
        code, log = forks.run(tmp_path, "train", "resume=last")
        assert code == 0 and "resuming after step" in log, log
    assert_same(run_in(tmp_path), whole[1], groups=("model", "optimizer"))


def test_names_mean_nothing_but_themselves(cnnlab: Cnnlab, here: Path, mine: Path) -> None:
    root = lay_out(here / "strange", NAMES)
    for command in (
        words(root, epochs=1),
        ["eval"],
        ["predict", str(next(root.glob("*/*.png"))), "top_k=10"],
        ["runs"],
    ):
        code, out, err = cnnlab(*command)
        assert (code, err) == (0, ""), err
        assert "\x1b" not in out and "two\nlines" not in out and "Traceback" not in out
    (run,) = (here / "outputs" / "train").iterdir()
    assert checkpoint.read_record(checkpoint.find_checkpoint(run / "checkpoints", "last"))[
        "classes"
    ] == sorted(NAMES)
    scores = json.loads(next(run.glob("eval/*/scores.json")).read_text())
    assert set(scores["classes"]) == set(NAMES)
    assert {path.name for path in here.iterdir()} == {"cache", "mine", "outputs", "strange"}


@pytest.mark.slow
def test_classes_are_matched_by_name(cnnlab: Cnnlab, here: Path, mine: Path) -> None:
    assert cnnlab(*words(mine, epochs=1))[0] == 0
    before = json.loads(cnnlab("eval", "--json")[1])
    (mine / "3").rename(mine / "three")
    code, _, err = cnnlab("eval")
    assert code == 2 and "the run knows no class three; it knows 0, 1, 2" in err
    (mine / "three").rename(mine / "3")
    assert json.loads(cnnlab("eval", "--json")[1])["confusion"] == before["confusion"]


def test_changed_folder_is_not_evaluated(cnnlab: Cnnlab, here: Path, mine: Path) -> None:
    """A new random split might put training images into the test set."""
    assert cnnlab(*words(mine, epochs=1))[0] == 0
    path = next((mine / "3").iterdir())
    (mine / "3" / "copy.png").write_bytes(path.read_bytes())
    for split in ("test", "validation", "train"):
        code, _, err = cnnlab("eval", f"split={split}")
        assert code == 1 and f"the images below {mine} have changed since the run started" in err
    (mine / "3" / "copy.png").unlink()
    assert cnnlab("eval")[0] == 0
    lay_out(here / "apart" / "train", list("0123456789"))
    lay_out(here / "apart" / "test", list("0123456789"), count=100)
    assert cnnlab(*words(here / "apart", epochs=1))[0] == 0
    (here / "apart" / "train" / "3" / "copy.png").write_bytes(path.read_bytes())
    assert cnnlab("eval")[0] == 0, "a separate test folder does not depend on the rest"
    assert cnnlab("eval", "split=validation")[0] == 1


def test_run_finds_its_images_from_another_folder(
    cnnlab: Cnnlab, here: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cnnlab(*words(Path("mine"), epochs=1))[0] == 0
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert cnnlab("eval", "outputs=../outputs")[0] == 0


def test_predict_equals_eval_on_own_images(cnnlab: Cnnlab, here: Path) -> None:
    """Images of other sizes and shapes, so that all are resized and cropped."""
    rng = np.random.default_rng(0)
    for i in range(40):
        path = here / "mine" / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (80 + i, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, quality=95)
    command = [
        "train",
        "dataset=folder",
        f"dataset.root={here / 'mine'}",
        "dataset.size=16",
        "batch_size=4",
    ]
    assert cnnlab(*command, "epochs=2", "dataset.workers=0", "schedule=constant")[0] == 0
    assert cnnlab("eval", "mistakes=0")[0] == 0
    (file,) = here.glob("outputs/train/*/eval/*/logits.safetensors")
    tensors = load_file(file)
    (run,) = (here / "outputs" / "train").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())["dataset"]
    pictures = load_dataset(config, "test")
    rows = json.loads(cnnlab("predict", *pictures.paths, "top_k=2", "--format", "json")[1])[
        "images"
    ]
    for row, logits in zip(rows, tensors["logits"], strict=True):
        probabilities = {entry["class"]: entry["probability"] for entry in row["top"]}
        assert [probabilities["a"], probabilities["b"]] == pytest.approx(
            logits.softmax(0).tolist(), abs=1e-5
        )


def test_changed_images_are_not_resumed(
    cnnlab: Cnnlab, here: Path, mine: Path, forks: Forks
) -> None:
    number = forks.start(here, *words(mine, epochs=500))
    while not list(here.glob("outputs/train/*/checkpoints/step*")):
        time.sleep(0.005)
    os.kill(number, signal.SIGTERM)
    assert forks.wait(number) == 143
    path = next((mine / "3").iterdir())
    before = path.read_bytes()
    Image.new("L", (8, 8)).save(path)
    code, _, err = cnnlab("train", "resume=last")
    assert code == 1 and "have changed since the run started" in err, (
        "another image of the same name"
    )
    path.write_bytes(before)
    (mine / "3" / "new.png").write_bytes(before)
    code, _, err = cnnlab("train", "resume=last")
    assert code == 1 and f"the images below {mine} have changed since the run started" in err


def test_broken_images_are_an_error_or_skipped(cnnlab: Cnnlab, here: Path, mine: Path) -> None:
    (mine / "3" / "bad\n.png").write_bytes(b"nothing")
    (mine / "5" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    code, _, err = cnnlab(*words(mine, epochs=1))
    assert code == 1 and not (here / "outputs").exists()
    assert (
        len(err.splitlines()) == 3
        and "bad\\n.png" in err
        and "cut.jpg" in err
        and "2 images are broken" in err
    )
    code, out, err = cnnlab(*words(mine, epochs=1), "dataset.skip_broken=true")
    assert (code, err) == (0, "") and "skipped: 2 broken" in out


def test_log_does_not_depend_on_workers(
    forks: Forks, tmp_path: Path, whole: tuple[Path, Path]
) -> None:
    assert forks.run(tmp_path, *words(whole[0], workers=1))[0] == 0
    rows = [
        {k: v for k, v in row.items() if k not in ("elapsed_s", "train/images_per_s")}
        for run in (run_in(tmp_path), whole[1])
        for row in read_metrics(run / "metrics.jsonl")
    ]
    half = len(rows) // 2
    assert half and rows[:half] == rows[half:]


@pytest.mark.data
@pytest.mark.slow
def test_tiny_imagenet_resumes_exactly(forks: Forks, tmp_path: Path, real_data: Path) -> None:
    """200 classes and 55,000 images from disk, stopped within an epoch."""
    root = real_data / "tiny_imagenet"
    if not root.exists():
        pytest.skip(f"tiny_imagenet is not in {real_data}")
    command = [
        "train",
        "dataset=folder",
        f"dataset.root={root}",
        "dataset.size=32",
        "augment=shift",
        "epochs=1",
    ]
    command += [
        "model.filters=[8,8]",
        "model.hidden=[32]",
        "batch_size=250",
        "log_every=20",
        "ema_decay=0.9",
    ]
    code, log = forks.run(tmp_path / "whole", *command)
    assert code == 0 and "45,000 training images, 5,000 validation images" in log, log
    number = forks.start(tmp_path / "cut", *command)
    while not list(tmp_path.glob("cut/outputs/train/*/metrics.jsonl")):
        time.sleep(0.01)
    os.killpg(number, signal.SIGTERM)
    assert forks.wait(number) == 143 and nobody_left(number)
    code, log = forks.run(tmp_path / "cut", "train", "resume=last")
    assert code == 0 and "resuming after step" in log, log
    assert_same(run_in(tmp_path / "cut"), run_in(tmp_path / "whole"))


def forget_stratification(run: Path) -> None:
    """Make a run's checkpoints those of a version that drew splits from all images alike."""
    for path in (run / "checkpoints").glob("*.safetensors"):
        blob = path.read_bytes()
        assert blob.count(b"stratified:") == 1
        path.write_bytes(blob.replace(b"stratified:", b"00000000000"))


def test_runs_before_stratified_splits_refuse_with_the_reason(
    cnnlab: Cnnlab, here: Path, mine: Path
) -> None:
    assert cnnlab(*words(mine, epochs=1))[0] == 0
    (run,) = (here / "outputs" / "train").iterdir()
    forget_stratification(run)
    for command in (["eval"], ["eval", "split=validation"], ["train", "resume=last", "epochs=2"]):
        code, _, err = cnnlab(*command)
        assert code == 1 and "was started by an earlier version of cnnlab" in err, err
    assert cnnlab("predict", str(next(mine.glob("*/*.png"))))[0] == 0


def test_train_and_eval_say_what_was_read_skipped_and_not_tested(
    cnnlab: Cnnlab, here: Path, mine: Path
) -> None:
    for path in sorted((mine / "3").iterdir())[1:]:
        path.unlink()
    (mine / "3" / "notes.txt").write_text("")
    code, out, err = cnnlab(*words(mine, epochs=1))
    assert (code, err) == (0, "") and "\n1 epoch of 22 steps\n" in out
    header, summary = out.split("accuracy", 1)
    for split in ("validation", "test"):
        assert f"\nno {split} images of class 3\n" in header
        assert f"\nno {split} images of class 3\n" in summary
    assert "10 classes   " in out and "skipped: 1 of unknown suffix (.txt)" in out
    code, out, err = cnnlab("eval")
    assert (code, err) == (0, "") and "skipped: 1 of unknown suffix (.txt)" in out
    json.loads(cnnlab("eval", "--json")[1])
