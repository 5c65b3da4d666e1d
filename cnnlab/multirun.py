"""Run a sweep (`-m`): one run per combination, sequentially or in parallel processes.

A failed run does not stop the others. A sweep that is stopped just ends its worker processes:
`resume=SWEEP` completes the missing runs exactly.
"""

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
from types import TracebackType
from typing import Any

import psutil

from cnnlab.core import sweep_index as sweeps
from cnnlab.core.errors import CnnlabError, Stopped, UsageError, format_error
from cnnlab.core.files import make_run_folder
from cnnlab.core.link_safety import open_to_append, remove_link
from cnnlab.core.lock import FolderLock
from cnnlab.core.output import as_output, escape_lines, standard_streams
from cnnlab.core.quoting import (
    COMMAND_VARIABLE,
    as_override,
    get_command_line,
    hydra_literal,
    printable,
)
from cnnlab.core.run_index import find_run
from cnnlab.core.signals import Handlers, exit_process, install_stop_handlers, restore_handlers

PARENT_PID_VARIABLE = "CNNLAB_SWEEP"  # tells workers the process id of the one that launched them
PARENT_POLL_S = 0.2


class Sweep:
    """A sweep's folder, new or resumed, locked while its runs are made."""

    def __init__(self, task: str, overrides: list[str], config_dir: str) -> None:
        """`overrides` may contain `resume=SWEEP`. Raises UsageError where there is none such, and
        for a list of values whose key is set twice."""
        check_repeated_keys(overrides)
        resumed = [unquote_value(word) for word in overrides if word.startswith("resume=")]
        outputs = [unquote_value(word) for word in overrides if word.startswith("outputs=")]
        root = Path(outputs[-1] if outputs else "outputs")
        self.overrides = [
            pin_init_run(word, root) for word in overrides if not word.startswith("resume=")
        ]
        self.is_resumed = bool(resumed)
        self.sweeper = find_sweeper(overrides)
        if self.is_resumed and self.sweeper:
            raise UsageError(
                f"a sweep by {self.sweeper} cannot be resumed\n"
                "to continue its search in a new one, set hydra.sweeper.storage and .study_name"
            )
        self.new_parents = [folder for folder in (root / task, root) if not folder.exists()]
        self.folder = (
            sweeps.find_sweep(resumed[-1], root)
            if resumed
            else make_run_folder(root / task, "sweep")
        )
        if not self.is_resumed:
            sweeps.record_start(self.folder)
        folder_flag = ["--config-dir", config_dir] if config_dir else []
        command = shlex.join(["cnnlab", task, "-m", *folder_flag, *self.overrides])
        self.resume_command = f"`{command} {as_override('resume', str(self.folder))}`"
        self.is_parallel = any(
            word.startswith("hydra/launcher=") and word[15:] != "basic" for word in overrides
        )
        self.previous_handlers: Handlers = {}
        self.previous_environment: dict[str, str | None] = {}
        self.lock = FolderLock(self.folder)

    def __enter__(self) -> "Sweep":
        if not self.lock.acquire(blocking=False):
            raise UsageError(
                f"{self.folder} is running, in another process; two cannot make one sweep"
            )
        (self.folder / "failed.jsonl").unlink(missing_ok=True)
        remove_link(self.folder / "multirun.yaml")  # which Hydra would write through
        warnings = [os.environ.get("PYTHONWARNINGS", ""), "ignore:resource_tracker:UserWarning"]
        environment = {
            PARENT_PID_VARIABLE: str(os.getpid()),
            COMMAND_VARIABLE: json.dumps(get_command_line()),
            # `python -m`, by which loky starts workers, would import from the current folder first.
            "PYTHONSAFEPATH": "1",
            # Loky's tracker warns of the shared memory that it removes after killed workers.
            "PYTHONWARNINGS": ",".join(filter(None, warnings)),
        }
        self.previous_environment = {name: os.environ.get(name) for name in environment}
        os.environ |= environment
        self.previous_handlers = install_stop_handlers(self.stop)
        return self

    def stop(self, number: int) -> None:
        """End the workers and this process, and print how to resume."""
        end_workers()
        if not self.is_resumed and not self.has_runs:
            self.remove_empty_folder()
        exit_process(number, escape_lines(str(self.stopped_error(number))))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        restore_handlers(self.previous_handlers)
        for name, value in self.previous_environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if not self.is_resumed and not self.has_runs:
            self.remove_empty_folder()
        self.lock.release()

    def remove_empty_folder(self) -> None:
        """Remove the folder of a sweep without runs, and the folders that were made for it."""
        for file in (
            *self.folder.glob("*/log.txt"),
            self.folder / "multirun.yaml",
            self.folder / "failed.jsonl",
            self.folder / sweeps.START_FILE,
        ):
            file.unlink(missing_ok=True)
        for folder in (*self.folder.glob("*/"), self.folder, *self.new_parents):
            with suppress(OSError):
                folder.rmdir()

    def report_result(self, failed_runs: int) -> None:
        """Print a table of the runs. Raises CnnlabError where runs failed, also where their number
        is all that is known because the folder was deleted."""
        if self.has_runs:
            print(
                "\n".join(["", *sweeps.format_sweep_table(self.folder), str(self.folder)]),
                flush=True,
            )
        if failed := sweeps.read_failures(self.folder):
            message = f"{format_run_numbers(failed)} failed"
            retried = [row for row in failed if row.get("can_retry")]
            if retried and not self.sweeper:
                message += f"; {self.resume_command} retries {format_run_numbers(retried)}"
            error = CnnlabError(message)
            error.exit_code = max(int(row["exit_code"]) for row in failed)
            raise error
        if failed_runs:
            number = f"{failed_runs} run{'s' * (failed_runs > 1)}"
            raise CnnlabError(f"{number} failed, and {self.folder} is no longer complete")

    @property
    def has_runs(self) -> bool:
        """Return whether any run has begun."""
        return any(self.folder.glob("*/config.yaml"))

    def stopped_error(self, number: int) -> Stopped:
        """Return the error that says how to resume."""
        resume = f"; {self.resume_command} resumes it" if self.has_runs else ""
        if resume and self.sweeper:  # it would search anew
            resume = f"; its runs are in {self.folder}"
        return Stopped(f"the sweep was stopped{resume}", number)


def format_run_numbers(failures: list[dict[str, Any]]) -> str:
    """Return `run 3`, or `runs 1, 3`."""
    return f"run{'s' * (len(failures) > 1)} {', '.join(row['run'] for row in failures)}"


def check_repeated_keys(overrides: list[str]) -> None:
    """Raise UsageError for a list of values whose key is set twice: Hydra drops the first."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    first: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(overrides):
        earlier = first.setdefault(override.key_or_group, override)
        if earlier is not override and (
            earlier.is_sweep_override() or override.is_sweep_override()
        ):
            words = f"{earlier.input_line} and {override.input_line}"
            raise UsageError(f"{printable(words)} set the same key: a sweep takes each key once")


def find_sweeper(overrides: list[str]) -> str | None:
    """Return the override that chooses a sweeper other than the one for fixed combinations."""
    chosen = [word for word in overrides if word.startswith("hydra/sweeper=")]
    return chosen[-1] if chosen and unquote_value(chosen[-1]) != "basic" else None


def count_failed_runs(batches: Any) -> int:
    """Return how many runs returned no accuracy, from what Hydra returns of a sweep."""
    jobs = [job for batch in batches if isinstance(batch, list) for job in batch] if batches else []
    return sum(job.return_value != job.return_value for job in jobs)  # NaN


def unquote_value(override: str) -> str:
    """Return the value of `key=value` as Hydra reads it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return str(OverridesParser.create().parse_override(override).value())


def pin_init_run(override: str, outputs: Path) -> str:
    """Return `init=last` or `init=best` with the run that it means now; others as they are.

    Later it would mean a run of the sweep itself.
    """
    if not override.startswith("init=") or (name := unquote_value(override)) not in (
        "last",
        "best",
    ):
        return override
    return f"init={hydra_literal(str(find_run(name, outputs).absolute()))}"


def run_job(folder: Path, overrides: list[str], run: Callable[[], float]) -> float:
    """Make one run of a sweep and return its validation accuracy; NaN where it failed.

    A failure is reported immediately. A worker process writes its run's output to the run's own
    log.txt. Raises Stopped where a signal stopped a sequential sweep.
    """
    is_worker = os.environ.get(PARENT_PID_VARIABLE) != str(os.getpid())
    name = printable(f"run {folder.name} ({' '.join(overrides) or 'as configured'})")
    try:
        if is_worker:
            with standard_streams():
                return run_in_worker(folder, name, run)
        print(f"\n{name}", flush=True)
        return run()
    except Exception as error:
        if isinstance(error, Stopped) and not is_worker:
            raise
        kind = error if isinstance(error, CnnlabError) else CnnlabError()
        failure = {
            "overrides": overrides,
            "reason": format_error(error),
            "exit_code": kind.exit_code,
            "can_retry": kind.can_retry,
        }
        with suppress(OSError):  # the folder may have been deleted; what is returned tells
            sweeps.append_failure(folder, failure)
        print(f"cnnlab: {name} failed: {format_error(error)}", file=sys.stderr, flush=True)
        return float("nan")


def run_in_worker(folder: Path, name: str, run: Callable[[], float]) -> float:
    """Make one run in a worker process, which ends when the launching process does."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        for number in (signal.SIGINT, signal.SIGHUP):  # the terminal's: the launching process's
            signal.signal(number, signal.SIG_IGN)
        threading.Thread(target=exit_when_orphaned, daemon=True).start()
    log_path = folder / "log.txt"
    with open_to_append(log_path) as log, redirect_stdout(as_output(log)):
        accuracy = run()
    print(f"{name}: validation {accuracy:.2%}", flush=True)
    return accuracy


def exit_when_orphaned() -> None:
    """End this process as soon as the process that launched the sweep is gone."""
    while str(os.getppid()) == os.environ.get(PARENT_PID_VARIABLE):
        time.sleep(PARENT_POLL_S)
    os._exit(1)


def end_workers() -> None:
    """Kill the worker processes, and wait until they are gone.

    Other child processes get SIGTERM: it ends a worker that is only just starting, and is ignored
    by loky's resource trackers, which clean up shared memory and end with this process.
    """
    workers = {worker.pid for worker in multiprocessing.active_children()}
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.send_signal(signal.SIGKILL if child.pid in workers else signal.SIGTERM)
    psutil.wait_procs([child for child in children if child.pid in workers], timeout=5)
