"""`-m`: one run for each combination, one after the other or side by side; what fails does not stop the rest."""

import json
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from cnnlab.core import sweep_index as sweeps
from cnnlab.core.errors import CnnlabError, Stopped, UsageError, told
from cnnlab.core.files import new_folder
from cnnlab.core.lock import Lock
from cnnlab.core.quoting import COMMAND, command, literal, plain, typed
from cnnlab.core.run_index import find_run
from cnnlab.core.signals import WATCHED, end_with_parent

PARENT = "CNNLAB_SWEEP"  # names the process that the sweep was begun by to those that it begins
STOP: list[int] = []  # the signal that asked this process, one of several, to stop
BUSY: list[str] = []  # the run that it is making


class Sweep:
    """A sweep's folder, new or gone on with, while its runs are made. Only one process may."""

    def __init__(self, task: str, words: list[str], config_dir: str) -> None:
        """`words`: the overrides, with `resume=SWEEP` for one to go on with. Raises UsageError for one that is not."""
        named = [unquoted(word) for word in words if word.startswith("resume=")]
        outputs = [unquoted(word) for word in words if word.startswith("outputs=")]
        place = Path(outputs[-1] if outputs else "outputs")
        self.words = [fixed(word, place) for word in words if not word.startswith("resume=")]
        self.begun_before = bool(named)
        self.folder = sweeps.find_sweep(named[-1], place) if named else new_folder(place / task, "sweep")
        folder_flag = ["--config-dir", config_dir] if config_dir else []
        again = shlex.join(["cnnlab", task, "-m", *folder_flag, *self.words])
        self.again = f"`{again} {typed('resume', str(self.folder))}`"
        self.side_by_side = any(word.startswith("hydra/launcher=") and word[15:] != "basic" for word in words)
        self.asked: int | None = None
        self.over = False
        self.before: dict[int, Any] = {}
        self.lock = Lock(self.folder)

    @property
    def flags(self) -> list[str]:
        """What tells Hydra of it."""
        return ["--multirun", f"hydra.sweep.dir={literal(str(self.folder))}"]

    def __enter__(self) -> "Sweep":
        if not self.lock.take(wait=False):
            raise UsageError(f"{self.folder} is running, in another process; two cannot make one sweep")
        (self.folder / "failed.jsonl").unlink(missing_ok=True)
        os.environ |= {PARENT: str(os.getpid()), COMMAND: json.dumps(command())}
        if self.side_by_side:
            self.before = {number: signal.signal(number, self.pass_on) for number in WATCHED}
        return self

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Ask every run to stop, and wait for them; a second signal ends this process at once, and they follow."""
        self.asked = number
        signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=self.tell, daemon=True).start()

    def tell(self) -> None:
        """Again and again, to every process of the sweep: one that only just begins could miss a single signal."""
        while not self.over:
            for child in multiprocessing.active_children():
                with suppress(ProcessLookupError):
                    os.kill(child.pid or 0, signal.SIGUSR2)
            time.sleep(0.2)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.over = True
        for number, handler in self.before.items():
            signal.signal(number, handler)
        for name in (PARENT, COMMAND):
            os.environ.pop(name, None)
        if not self.begun_before and not self.began:
            self.clear()
        self.lock.release()
        if self.asked and isinstance(error, Exception):  # a process that was asked too soon to know what to do
            raise self.stopped(self.asked) from None

    def clear(self) -> None:
        """Nothing came of it: leave nothing."""
        for file in (*self.folder.glob("*/log.txt"), self.folder / "multirun.yaml", self.folder / "failed.jsonl"):
            file.unlink(missing_ok=True)
        for folder in (*self.folder.glob("*/"), self.folder):
            with suppress(OSError):
                folder.rmdir()

    def conclude(self) -> None:
        """Print how it went. Raises Stopped where it was asked to stop, CnnlabError where runs failed."""
        if self.began:
            print("\n".join(["", *sweeps.table(self.folder), str(self.folder)]), flush=True)
        if self.asked:
            raise self.stopped(self.asked)
        if failed := sweeps.failures(self.folder):
            runs = f"run {failed[0]['run']}" if len(failed) == 1 else f"runs {', '.join(row['run'] for row in failed)}"
            curable = any(row["exit_code"] != UsageError.exit_code for row in failed)  # by the same words
            error = CnnlabError(f"{runs} failed" + (f"; {self.again} makes what is missing" if curable else ""))
            error.exit_code = max(int(row["exit_code"]) for row in failed)
            raise error

    @property
    def began(self) -> bool:
        """Whether any run of it did."""
        return any(self.folder.glob("*/config.yaml"))

    def stopped(self, number: int) -> Stopped:
        return Stopped("the sweep was stopped" + (f"; {self.again} goes on" if self.began else ""), number)


def unquoted(word: str) -> str:
    """The value of `key=value`, without quotes around it."""
    return word.partition("=")[2].strip("'\"")


def fixed(word: str, outputs: Path) -> str:
    """`init=last` or `best` as the run that it means as the sweep begins: later that would be one of its own."""
    if not word.startswith("init=") or (name := unquoted(word)) not in ("last", "best"):
        return word
    return f"init={literal(str(find_run(name, outputs).absolute()))}"


def job(folder: Path, words: list[str], run: Callable[[], float]) -> float:
    """Make one run of a sweep; its validation accuracy, or not a number where it failed, which is said at once. One of
    several processes writes what its run says to the run's own log.txt. Raises Stopped where the sweep must end."""
    aside = os.environ.get(PARENT) != str(os.getpid())
    name = plain(f"run {folder.name} ({' '.join(words) or 'as configured'})")
    if aside and asked_to_stop():
        return float("nan")
    try:
        if not aside:
            print(f"\n{name}", flush=True)
            return run()
        BUSY.append(name)
        with (folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log):
            accuracy = run()
        print(f"{name}: validation {accuracy:.2%}", flush=True)
        return accuracy
    except Stopped:
        if not aside:
            raise
        STOP.append(signal.SIGTERM)
    except Exception as error:
        code = error.exit_code if isinstance(error, CnnlabError) else 1
        sweeps.note_failure(folder, {"overrides": words, "reason": told(error), "exit_code": code})
        print(f"cnnlab: {name} failed: {told(error)}", file=sys.stderr, flush=True)
    finally:
        BUSY.clear()
    if aside and alone():
        os._exit(1)
    return float("nan")


def asked_to_stop() -> bool:
    """In a process beside others: whether the first of them was told to stop, which it passes on as SIGUSR2. Ctrl-C in
    a terminal reaches all of them, and is left to the first."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGUSR1, orphaned)
        signal.signal(signal.SIGUSR2, told_to_stop)
        end_with_parent(signal.SIGUSR1)
    return bool(STOP)


def stop(number: int, frame: FrameType | None) -> None:
    """Make no further run, and leave one whose training has not begun: from then on the run itself heeds the signal.
    Where the first process is gone, end."""
    STOP.append(number)
    if alone():
        os._exit(1)
    if BUSY:
        raise Stopped("stopped before it began", number)


def told_to_stop(number: int, frame: FrameType | None) -> None:
    """The first process says so, more than once; a run of this one is asked once."""
    signal.signal(number, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)


def orphaned(number: int, frame: FrameType | None) -> None:
    """Stop, once, because the first process is gone: the system says so as often as that had threads, and also when
    one of them ends alone; a second SIGTERM would end this process before its run is saved."""
    if alone():
        signal.signal(number, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)


def alone() -> bool:
    """Whether the process that began the sweep is gone."""
    return str(os.getppid()) != os.environ.get(PARENT)
