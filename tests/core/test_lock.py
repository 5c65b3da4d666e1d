import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cnnlab.core.lock import FolderLock, is_locked

HOLD = """
import sys, time
from pathlib import Path
from cnnlab.core.lock import FolderLock
FolderLock(Path(sys.argv[1])).acquire(blocking=False)
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_is_locked_once_and_released(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not is_locked(tmp_path) and first.acquire(blocking=False)
    assert is_locked(tmp_path) and not second.acquire(blocking=False)
    first.release()
    assert second.acquire(blocking=False)
    second.release()
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "nothing")


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        assert is_locked(tmp_path)
        holder.kill()
    assert not is_locked(tmp_path)


def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire(blocking=False)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    lock.release()
    deadline = time.monotonic() + 10
    while is_locked(tmp_path) and time.monotonic() < deadline:  # the child may not be there yet
        time.sleep(0.01)
    assert not is_locked(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
