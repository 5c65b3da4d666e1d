import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cnnlab.core.lock import Lock, locked

HOLD = "import sys, time; from pathlib import Path; from cnnlab.core.lock import Lock\n"
HOLD += "Lock(Path(sys.argv[1])).take(wait=False); print('held', flush=True); time.sleep(60)"


def test_a_folder_is_held_once_and_let_go(tmp_path: Path) -> None:
    one, other = Lock(tmp_path), Lock(tmp_path)
    assert not locked(tmp_path) and one.take(wait=False)
    assert locked(tmp_path) and not other.take(wait=False)
    one.release()
    assert other.take(wait=False)
    other.release()
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_not_held(tmp_path: Path) -> None:
    assert not locked(tmp_path / "nothing")


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        assert locked(tmp_path)
        holder.kill()
    assert not locked(tmp_path)


def test_a_child_does_not_keep_its_parents_lock(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    lock.take(wait=False)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    lock.release()
    deadline = time.monotonic() + 10
    while locked(tmp_path) and time.monotonic() < deadline:  # the child may not have come to it yet
        time.sleep(0.01)
    assert not locked(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
