"""Real processes and signals: a resumed run ends with the weights of an uninterrupted one."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from cnnlab.core import checkpoint
from cnnlab.core.signals import STOP_SIGNALS
from tests.fork_server import Forks

TRAIN = [
    "train",
    "epochs=6",
    "model.filters=[4,4]",
    "model.hidden=[8]",
    "log_every=10",
    "augment=affine",
]
TRAIN += ["ema_decay=0.9", "optim=adamw", "clip_norm=1.0", "save_every_minutes=1e-9", "result=best"]
LIMIT_S = 120


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An uninterrupted run, and its seconds."""
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    code, log = forks.run(folder, *TRAIN)
    assert code == 0, log
    return run_in(folder), time.monotonic() - began


def run_in(folder: Path) -> Path:
    (run,) = (folder / "outputs" / "train").iterdir()
    return run


def last(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    return checkpoint.load_checkpoint(checkpoint.find_checkpoint(run / "checkpoints", "last"))[0]


def assert_same(
    run: Path, other: Path, groups: tuple[str, ...] = ("model", "average", "optimizer")
) -> None:
    mine, theirs = last(run), last(other)
    for group in groups:
        assert mine[group].keys() == theirs[group].keys()
        assert all(torch.equal(mine[group][name], theirs[group][name]) for name in theirs[group])
    assert (run / "result.json").exists() and not list(run.rglob("*.part"))


def nobody_left(group: int) -> bool:
    """Whether a process group is empty, given a moment."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def kill_while_saving(forks: Forks, folder: Path, number: int) -> None:
    """SIGKILL as soon as a checkpoint's unfinished file is seen beside a whole one."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if any(folder.glob("outputs/train/*/checkpoints/.*.part")) and any(
            folder.glob("outputs/train/*/*/step*")
        ):
            break
    os.kill(number, signal.SIGKILL)


def check_resume(forks: Forks, folder: Path, whole: Path) -> None:
    """`cnnlab runs` lists a killed run, and `resume` finishes it."""
    run = next((folder / "outputs" / "train").glob("*"), None)
    if run is None or not checkpoint.list_checkpoint_steps(run / "checkpoints"):
        code, log = forks.run(folder, "train", "resume=last")
        assert code == 2 and "no run with a checkpoint" in log, (
            "nothing was saved yet: nothing to resume"
        )
        return
    listed = json.loads(forks.run(folder, "runs", "--json")[1])
    assert [row["state"] for row in listed] in (["interrupted"], ["finished"])
    code, log = forks.run(folder, "train", f"resume={run}")
    assert code == 0, log
    assert_same(run, whole)


def kill_somewhere(
    forks: Forks, folder: Path, whole: tuple[Path, float], share: float | None
) -> None:
    """SIGKILL after a share of a run's time, or (None) while it saves; then resume."""
    number = forks.start(folder, *TRAIN)
    if share is None:
        kill_while_saving(forks, folder, number)
    else:
        time.sleep(share * whole[1])
        os.kill(number, signal.SIGKILL)
    assert forks.wait(number) in (-signal.SIGKILL, 0) and nobody_left(number)
    check_resume(forks, folder, whole[0])


def stop_somewhere(
    forks: Forks, folder: Path, whole: Path, kind: signal.Signals, share: float
) -> int:
    """SIGINT or SIGTERM after a share of the metrics, then resume. Returns the first exit code."""
    number = forks.start(folder, *TRAIN)
    lines = 1 + int(share * (len((whole / "metrics.jsonl").read_bytes().splitlines()) - 1))
    while count_metric_rows(folder) < lines:
        time.sleep(0.002)
    os.kill(number, kind)
    code, log = forks.wait(number), (folder / "log.txt").read_text()
    assert "Traceback" not in log and nobody_left(number)
    if "stopped after step" in log:
        assert code == 128 + kind
        assert log.splitlines()[-2].startswith("cnnlab: stopped after step ") and log.splitlines()[
            -1
        ].startswith("resume with `")
    else:
        assert code in (0, 128 + kind, -kind), log
        assert (run_in(folder) / "result.json").exists(), (
            "the signal came too late to stop anything"
        )
    check_resume(forks, folder, whole)
    return code


def count_metric_rows(folder: Path) -> int:
    """The lines of metrics of the run in a folder."""
    return sum(
        len(path.read_bytes().splitlines()) for path in folder.glob("outputs/train/*/metrics.jsonl")
    )


@pytest.mark.parametrize("share", [None, 0.6, pytest.param(0.8, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_killed_run_resumes(
    forks: Forks, tmp_path: Path, whole: tuple[Path, float], share: float | None
) -> None:
    kill_somewhere(forks, tmp_path, whole, share)


@pytest.mark.parametrize(
    "kind",
    [*STOP_SIGNALS[:3], *(pytest.param(kind, marks=pytest.mark.slow) for kind in STOP_SIGNALS[3:])],
)
def test_stopped_run_resumes(
    forks: Forks, tmp_path: Path, whole: tuple[Path, float], kind: signal.Signals
) -> None:
    assert stop_somewhere(forks, tmp_path, whole[0], kind, 0.2) == 128 + kind


@pytest.mark.slow
def test_fifty_killed_runs_resume(forks: Forks, tmp_path: Path, whole: tuple[Path, float]) -> None:
    rng = random.Random(0)
    for i in range(50):
        kill_somewhere(forks, tmp_path / str(i), whole, None if i % 5 == 0 else rng.random())


@pytest.mark.slow
def test_twenty_stopped_runs_resume(
    forks: Forks, tmp_path: Path, whole: tuple[Path, float]
) -> None:
    rng, codes = random.Random(1), set()
    for i in range(20):
        kind = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[i % 3]
        codes.add(stop_somewhere(forks, tmp_path / str(i), whole[0], kind, rng.random()))
    assert {129, 130, 143} <= codes


@pytest.mark.slow
def test_run_killed_repeatedly_ends_the_same(
    forks: Forks, tmp_path: Path, whole: tuple[Path, float]
) -> None:
    rng = random.Random(2)
    number = forks.start(tmp_path, *TRAIN)
    while not list(tmp_path.glob("outputs/train/*/checkpoints/step*")):
        time.sleep(0.01)
    for _ in range(8):
        time.sleep(rng.uniform(0.1, 0.8) * whole[1])
        os.kill(number, signal.SIGKILL)
        forks.wait(number)
        number = forks.start(tmp_path, "train", "resume=last")
    assert forks.wait(number) == 0, (tmp_path / "log.txt").read_text()
    assert_same(run_in(tmp_path), whole[0])


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_simultaneous_runs_have_own_folders(forks: Forks, tmp_path: Path, count: int) -> None:
    words = ["train", "epochs=1", "model.filters=[2,2]", "model.hidden=[4]", "name=same"]
    (tmp_path / "outputs").mkdir()
    numbers = []
    for i in range(count):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "outputs").symlink_to(tmp_path / "outputs")
        numbers.append(forks.start(tmp_path / str(i), *words))
    assert [forks.wait(number) for number in numbers] == [0] * count
    runs = list((tmp_path / "outputs" / "train").iterdir())
    assert len(runs) == count and all((run / "result.json").exists() for run in runs)
    assert all(len(list(run.glob("events*"))) <= 2 for run in runs)
    logs = [(tmp_path / str(i) / "log.txt").read_text() for i in range(count)]
    named = {line for log in logs for line in log.splitlines() if line.startswith("outputs/train/")}
    assert len(named) == count
