"""List runs, find the one that a name means, and read its summary and state."""

import math
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError, UsageError, suggest_nearest
from cnnlab.core.files import path_exists, read_json
from cnnlab.core.lock import is_locked
from cnnlab.core.quoting import as_override
from cnnlab.core.schema import is_of_type
from cnnlab.core.yaml_files import read_yaml

DEFAULT_OUTPUTS = Path("outputs")
START_FILE = "sweep.json"  # in a sweep's folder
RUN_STATES = ("running", "finished", "interrupted", "failed")
UNREADABLE = "unreadable"  # the state of a run whose own files are damaged


def format_list_command(outputs: Path) -> str:
    """Return the command that lists the runs below `outputs`, in backticks."""
    if outputs == DEFAULT_OUTPUTS:
        return "`cnnlab runs`"
    return f"`cnnlab runs --outputs={shlex.quote(str(outputs))}`"


def format_train_command(outputs: Path, flags: str = "") -> str:
    """Return the command that makes a run below `outputs`, in backticks."""
    where = "" if outputs == DEFAULT_OUTPUTS else f" {as_override('outputs', str(outputs))}"
    return f"`cnnlab train{flags}{where}`"


def list_runs(outputs: Path) -> list[Path]:
    """Return every run below `outputs`/train, in sweeps too: by name, in a sweep by number."""
    folders = list_subfolders(outputs / "train")
    inner = (path for folder in folders for path in list_subfolders(folder))
    runs = (path for path in (*folders, *inner) if path_exists(path / "state.json"))
    return sorted(runs, key=lambda folder: (folder.parent / folder.name.zfill(6), folder))


def list_subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder; none where it is no folder, unreadable, or just removed."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    return [path for path in paths if path_exists(path) and path.is_dir()]


def read_change_time(folder: Path) -> float:
    """Return when a run's state last changed, as Unix time; 0 if the run was just removed."""
    try:
        return (folder / "state.json").stat().st_mtime
    except OSError:
        return 0.0


def is_run(folder: Path) -> bool:
    return path_exists(folder / "state.json") or path_exists(folder / "checkpoints")


def find_run(name: str, outputs: Path) -> Path:
    """Return the run's folder for a folder, a sweep's folder and a number or `best`, or an alias.

    `last`: the newest run that has a checkpoint. `best`: the run with the highest validation
    accuracy of the named sweep, or the newest. Raises UsageError where there is no such run.
    """
    path = Path(name)
    if name == "last":
        saved = [
            folder
            for folder in list_runs(outputs)
            if checkpoint.list_checkpoint_steps(folder / "checkpoints")
        ]
        if not saved:
            command = format_train_command(outputs)
            raise UsageError(f"no run with a checkpoint below {outputs}/train; {command} makes one")
        return max(saved, key=lambda folder: (read_change_time(folder), folder))
    if path.name == "best":
        if name == "best":
            return find_best_run(find_newest_sweep(outputs))
        return find_best_run(
            path.parent if path_exists(path.parent) else outputs / "train" / path.parent
        )
    if is_run(path):
        return path
    below = outputs / "train" / name
    if is_run(below):
        return below
    known = [str(folder) for folder in list_runs(outputs)]
    listing = f"{format_list_command(outputs)} lists what there is"
    if path_exists(path) and path.is_dir():
        hint = suggest_runs_inside(path) or f"{suggest_run(name, known)}\n{listing}"
        raise UsageError(f"{name} is not a run's folder{hint}")
    raise UsageError(f"no run {name}{suggest_run(name, known) or ';'} {listing}")


def suggest_run(name: str, known: list[str]) -> str:
    """Return `; did you mean X?` for the newest of the known runs that was given this name, or for
    one of a similar folder; else an empty string."""
    named = [folder for folder in known if folder.endswith(f"_{name}")]
    return f"; did you mean {max(named)}?" if named else suggest_nearest(name, known)


def suggest_runs_inside(path: Path) -> str:
    """Return a hint for a folder that is no run but contains some; else an empty string."""
    runs = sorted(folder.name for folder in list_subfolders(path) if is_run(folder))
    return f" but holds runs {', '.join(runs[:8])}: name one, or {path}/best" if runs else ""


def find_newest_sweep(outputs: Path) -> Path:
    sweeps = {folder.parent for folder in list_runs(outputs) if folder.parent.name != "train"}
    if not sweeps:
        command = format_train_command(outputs, " -m seed=1,2,3")
        raise UsageError(f"no sweep below {outputs}/train; {command} makes one")
    return max(sweeps, key=lambda sweep: (read_sweep_start(sweep), sweep))


def read_sweep_start(sweep: Path) -> float:
    """Return when a sweep was started, as Unix time: its name holds the local time, which another
    time zone shifts. Of a sweep of an earlier version, when its first run started, by its file."""
    record = read_json(sweep / START_FILE)
    started = record.get("started") if isinstance(record, dict) else None
    if isinstance(started, (int, float)) and math.isfinite(started):
        return started
    times: list[float] = []
    for path in sweep.glob("*/environment.json"):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return min(times, default=0.0)


def find_best_run(sweep: Path) -> Path:
    """Return the run with the highest validation accuracy, by its last checkpoint."""
    scored = [
        (info.validation, info.folder)
        for info in map(read_run_summary, list_runs_in(sweep))
        if info.validation is not None
    ]
    if not scored:
        raise UsageError(f"{sweep} holds no run with a validation score")
    return max(scored, key=lambda pair: pair[0])[1]


def list_runs_in(sweep: Path) -> list[Path]:
    return sorted(path for path in list_subfolders(sweep) if path_exists(path / "state.json"))


@dataclass(frozen=True)
class RunSummary:
    """A run as listed; accuracies in 0..1, None where there is none yet."""

    folder: Path
    model: str
    dataset: str
    step: int
    validation: float | None
    test: float | None


def read_run_summary(folder: Path) -> RunSummary:
    """Read a run's summary; what is missing or unreadable is left out, not an error."""
    config: Any = read_yaml(folder / "config.yaml")
    config = config if isinstance(config, dict) else {}
    step, validation = 0, None
    for saved_step in reversed(checkpoint.list_checkpoint_steps(folder / "checkpoints")):
        with suppress(CnnlabError, KeyError, TypeError):
            record = checkpoint.read_record(
                checkpoint.checkpoint_path(folder / "checkpoints", saved_step)
            )
            step = max(step, record["step"])
            # There is none where a signal stopped the run within an epoch.
            validation = require_accuracy(record["validation"])
            break
    test = None
    with suppress(KeyError, TypeError):
        test = require_accuracy(read_json(folder / "result.json")["test"])
    return RunSummary(
        folder,
        get_component_name(config, "model"),
        get_component_name(config, "dataset"),
        step,
        validation,
        test,
    )


def require_accuracy(scores: Any) -> float:
    """Return the accuracy of a split's scores. Raises KeyError or TypeError where there is none."""
    accuracy = scores["accuracy"]
    if not is_of_type(accuracy, float) or not 0 <= accuracy <= 1:
        raise TypeError(f"{accuracy!r} is no accuracy")
    return float(accuracy)


def get_component_name(config: dict[str, Any], group: str) -> str:
    """Return the name of a run's model or data set; ? where it has none."""
    value = config.get(group)
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else "?"


def read_run_state(folder: Path) -> str:
    """Return running, finished, interrupted or failed; interrupted if its process was killed,
    UNREADABLE if state.json is damaged."""
    if not path_exists(folder / "state.json"):
        return "interrupted"
    state = read_json(folder / "state.json")
    name = state.get("state") if isinstance(state, dict) else None
    if not isinstance(name, str) or name not in RUN_STATES:
        return UNREADABLE
    if name == "running" and not is_locked(folder):
        return "interrupted"
    return name
