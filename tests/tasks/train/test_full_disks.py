"""Full and read-only disks: the run ends with one clear line, and the last checkpoint is valid."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnlab.core import checkpoint
from tests.fork_server import Forks

TRAIN = ["train", "epochs=200", "model.filters=[4,4]", "model.hidden=[8]", "log_every=10"]


def start_run(forks: Forks, folder: Path) -> tuple[int, Path]:
    """Start a run; return its process and folder once it has saved a checkpoint."""
    number, deadline = forks.start(folder, *TRAIN), time.monotonic() + 60
    while not (paths := list(folder.glob("outputs/train/*/checkpoints/step_*"))):
        assert time.monotonic() < deadline, (folder / "log.txt").read_text()
        time.sleep(0.01)
    return number, paths[0].parents[1]


def check_failure(code: int, log: str, run: Path, reason: str) -> None:
    """The error is one line, and the checkpoint that it names is valid."""
    message = log[log.index("cnnlab: cannot write ") :]
    assert (
        code == 1
        and reason in message
        and len(message.splitlines()) == 1
        and "Traceback" not in log
    )
    groups, record, _ = checkpoint.load_newest_valid(run / "checkpoints")
    assert groups["model"] and f"the last checkpoint is of step {record['step']:,}" in message
    assert f"`cnnlab train resume={run.relative_to(run.parents[2])}`" in message


def check_resume(forks: Forks, folder: Path, run: Path) -> None:
    """Resume, wait for a new checkpoint, and stop by a signal."""
    step = checkpoint.list_checkpoint_steps(run / "checkpoints")[-1]
    number = forks.start(folder, "train", "resume=last")
    while checkpoint.list_checkpoint_steps(run / "checkpoints")[-1] <= step:
        time.sleep(0.02)
    os.kill(number, signal.SIGTERM)
    assert forks.wait(number) == 143 and not list(run.rglob("*.part"))


def test_file_size_limit(forks: Forks, tmp_path: Path) -> None:
    if not hasattr(resource, "prlimit"):
        pytest.skip("this system cannot limit another process")
    number, run = start_run(forks, tmp_path)
    resource.prlimit(number, resource.RLIMIT_FSIZE, (1 << 13, 1 << 13))
    code = forks.wait(number)
    check_failure(code, (tmp_path / "log.txt").read_text(), run, "File too large")
    check_resume(forks, tmp_path, run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_full_disk(forks: Forks, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "outputs").mkdir()
    (tmp_path / "outputs").symlink_to(small_disk / "outputs")
    number, run = start_run(forks, tmp_path)
    with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(1 << 12))
    check_failure(
        forks.wait(number), (tmp_path / "log.txt").read_text(), run, "No space left on device"
    )
    (small_disk / "ballast").unlink()
    check_resume(forks, tmp_path, run)


def test_disk_becomes_read_only(forks: Forks, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "outputs").mkdir()
    (tmp_path / "outputs").symlink_to(small_disk / "outputs")
    number, run = start_run(forks, tmp_path)
    while subprocess.run(["mount", "-o", "remount,ro", small_disk], capture_output=True).returncode:
        pass  # refused while a file is open for writing
    check_failure(
        forks.wait(number), (tmp_path / "log.txt").read_text(), run, "Read-only file system"
    )
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    check_resume(forks, tmp_path, run)


def test_folder_becomes_read_only(forks: Forks, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only to root")
    number, run = start_run(forks, tmp_path)
    for place in (run / "checkpoints", run):
        place.chmod(0o555)
    check_failure(forks.wait(number), (tmp_path / "log.txt").read_text(), run, "Permission denied")
    for place in (run / "checkpoints", run):
        place.chmod(0o755)
    check_resume(forks, tmp_path, run)
