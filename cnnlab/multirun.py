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
from cnnlab.core.errors import CnnlabError, Stopped, UsageError, format_error
from cnnlab.core.files import make_run_folder
from cnnlab.core.lock import FolderLock
from cnnlab.core.quoting import (
    COMMAND_VARIABLE,
    as_override,
    get_command_line,
    hydra_literal,
    printable,
)
from cnnlab.core.run_index import find_run
from cnnlab.core.signals import STOP_SIGNALS, set_parent_death_signal

PARENT_PID_VARIABLE = (
    "CNNLAB_SWEEP"  # names the process that the sweep was begun by to those that it begins
)
RECEIVED_SIGNALS: list[int] = []  # the signal that asked this process, one of several, to stop
ACTIVE_RUNS: list[str] = []  # the run that it is making


class Sweep:
    """A sweep's folder, new or gone on with, while its runs are made. Only one process may."""

    def __init__(self, task: str, words: list[str], config_dir: str) -> None:
        """`words`: the overrides, with `resume=SWEEP` for one to go on with. Raises UsageError for one that is not."""
        named = [unquote_value(word) for word in words if word.startswith("resume=")]
        outputs = [unquote_value(word) for word in words if word.startswith("outputs=")]
        place = Path(outputs[-1] if outputs else "outputs")
        self.overrides = [
            pin_init_run(word, place) for word in words if not word.startswith("resume=")
        ]
        self.is_resumed = bool(named)
        self.folder = (
            sweeps.find_sweep(named[-1], place) if named else make_run_folder(place / task, "sweep")
        )
        folder_flag = ["--config-dir", config_dir] if config_dir else []
        again = shlex.join(["cnnlab", task, "-m", *folder_flag, *self.overrides])
        self.resume_command = f"`{again} {as_override('resume', str(self.folder))}`"
        self.is_parallel = any(
            word.startswith("hydra/launcher=") and word[15:] != "basic" for word in words
        )
        self.stop_signal: int | None = None
        self.is_finished = False
        self.previous_handlers: dict[int, Any] = {}
        self.lock = FolderLock(self.folder)

    @property
    def hydra_flags(self) -> list[str]:
        """What tells Hydra of it."""
        return ["--multirun", f"hydra.sweep.dir={hydra_literal(str(self.folder))}"]

    def __enter__(self) -> "Sweep":
        if not self.lock.acquire(blocking=False):
            raise UsageError(
                f"{self.folder} is running, in another process; two cannot make one sweep"
            )
        (self.folder / "failed.jsonl").unlink(missing_ok=True)
        os.environ |= {
            PARENT_PID_VARIABLE: str(os.getpid()),
            COMMAND_VARIABLE: json.dumps(get_command_line()),
        }
        if self.is_parallel:
            self.previous_handlers = {
                number: signal.signal(number, self.forward_signal) for number in STOP_SIGNALS
            }
        return self

    def forward_signal(self, number: int, frame: FrameType | None) -> None:
        """Ask every run to stop, and wait for them; a second signal ends this process at once, and they follow."""
        self.stop_signal = number
        signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=self.signal_workers, daemon=True).start()

    def signal_workers(self) -> None:
        """Again and again, to every process of the sweep: one that only just begins could miss a single signal."""
        while not self.is_finished:
            for child in multiprocessing.active_children():
                with suppress(ProcessLookupError):
                    os.kill(child.pid or 0, signal.SIGUSR2)
            time.sleep(0.2)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.is_finished = True
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)
        for name in (PARENT_PID_VARIABLE, COMMAND_VARIABLE):
            os.environ.pop(name, None)
        if not self.is_resumed and not self.has_runs:
            self.remove_empty_folder()
        self.lock.release()
        if self.stop_signal and isinstance(
            error, Exception
        ):  # a process that was asked too soon to know what to do
            raise self.stopped_error(self.stop_signal) from None

    def remove_empty_folder(self) -> None:
        """Nothing came of it: leave nothing."""
        for file in (
            *self.folder.glob("*/log.txt"),
            self.folder / "multirun.yaml",
            self.folder / "failed.jsonl",
        ):
            file.unlink(missing_ok=True)
        for folder in (*self.folder.glob("*/"), self.folder):
            with suppress(OSError):
                folder.rmdir()

    def report_result(self) -> None:
        """Print how it went. Raises Stopped where it was asked to stop, CnnlabError where runs failed."""
        if self.has_runs:
            print(
                "\n".join(["", *sweeps.format_sweep_table(self.folder), str(self.folder)]),
                flush=True,
            )
        if self.stop_signal:
            raise self.stopped_error(self.stop_signal)
        if failed := sweeps.read_failures(self.folder):
            runs = (
                f"run {failed[0]['run']}"
                if len(failed) == 1
                else f"runs {', '.join(row['run'] for row in failed)}"
            )
            curable = any(
                row["exit_code"] != UsageError.exit_code for row in failed
            )  # by the same words
            error = CnnlabError(
                f"{runs} failed"
                + (f"; {self.resume_command} makes what is missing" if curable else "")
            )
            error.exit_code = max(int(row["exit_code"]) for row in failed)
            raise error

    @property
    def has_runs(self) -> bool:
        """Whether any run of it did."""
        return any(self.folder.glob("*/config.yaml"))

    def stopped_error(self, number: int) -> Stopped:
        return Stopped(
            "the sweep was stopped" + (f"; {self.resume_command} goes on" if self.has_runs else ""),
            number,
        )


def unquote_value(word: str) -> str:
    """The value of `key=value`, without quotes around it."""
    return word.partition("=")[2].strip("'\"")


def pin_init_run(word: str, outputs: Path) -> str:
    """`init=last` or `best` as the run that it means as the sweep begins: later that would be one of its own."""
    if not word.startswith("init=") or (name := unquote_value(word)) not in ("last", "best"):
        return word
    return f"init={hydra_literal(str(find_run(name, outputs).absolute()))}"


def run_job(folder: Path, words: list[str], run: Callable[[], float]) -> float:
    """Make one run of a sweep; its validation accuracy, or not a number where it failed, which is said at once. One of
    several processes writes what its run says to the run's own log.txt. Raises Stopped where the sweep must end."""
    aside = os.environ.get(PARENT_PID_VARIABLE) != str(os.getpid())
    name = printable(f"run {folder.name} ({' '.join(words) or 'as configured'})")
    if aside and is_stop_requested():
        return float("nan")
    try:
        if not aside:
            print(f"\n{name}", flush=True)
            return run()
        ACTIVE_RUNS.append(name)
        with (folder / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log):
            accuracy = run()
        print(f"{name}: validation {accuracy:.2%}", flush=True)
        return accuracy
    except Stopped:
        if not aside:
            raise
        RECEIVED_SIGNALS.append(signal.SIGTERM)
    except Exception as error:
        code = error.exit_code if isinstance(error, CnnlabError) else 1
        sweeps.append_failure(
            folder, {"overrides": words, "reason": format_error(error), "exit_code": code}
        )
        print(f"cnnlab: {name} failed: {format_error(error)}", file=sys.stderr, flush=True)
    finally:
        ACTIVE_RUNS.clear()
    if aside and is_orphaned():
        os._exit(1)
    return float("nan")


def is_stop_requested() -> bool:
    """In a process beside others: whether the first of them was told to stop, which it passes on as SIGUSR2. Ctrl-C in
    a terminal reaches all of them, and is left to the first."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, handle_stop)
        signal.signal(signal.SIGUSR1, handle_parent_death)
        signal.signal(signal.SIGUSR2, handle_forwarded_stop)
        set_parent_death_signal(signal.SIGUSR1)
    return bool(RECEIVED_SIGNALS)


def handle_stop(number: int, frame: FrameType | None) -> None:
    """Make no further run, and leave one whose training has not begun: from then on the run itself heeds the signal.
    Where the first process is gone, end."""
    RECEIVED_SIGNALS.append(number)
    if is_orphaned():
        os._exit(1)
    if ACTIVE_RUNS:
        raise Stopped("stopped before it began", number)


def handle_forwarded_stop(number: int, frame: FrameType | None) -> None:
    """The first process says so, more than once; a run of this one is asked once."""
    signal.signal(number, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)


def handle_parent_death(number: int, frame: FrameType | None) -> None:
    """Stop, once, because the first process is gone: the system says so as often as that had threads, and also when
    one of them ends alone; a second SIGTERM would end this process before its run is saved."""
    if is_orphaned():
        signal.signal(number, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)


def is_orphaned() -> bool:
    """Whether the process that began the sweep is gone."""
    return str(os.getppid()) != os.environ.get(PARENT_PID_VARIABLE)
