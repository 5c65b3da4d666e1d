"""Where a training that does not begin from nothing begins: `resume` goes on with a run, `init` takes its weights."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import outputs_folder, read_json
from cnnlab.core.lock import Lock
from cnnlab.core.quoting import plain, typed
from cnnlab.core.run_index import find_run, run_state
from cnnlab.core.schema import build, call, check_spec
from cnnlab.core.sweep_index import words_of
from cnnlab.data.build import data_settings, source_settings
from cnnlab.data.sources import SOURCES
from cnnlab.engine.optim import OPTIMIZERS
from cnnlab.engine.schedule import SCHEDULES
from cnnlab.tasks.train.settings import Settings
from cnnlab.tasks.train.trainer import Training, assemble, put_back
from cnnlab.tasks.trained_run import check_tensors, completed, misfit, unfilled

# What cannot change a run's numbers so far.
FREE_ON_RESUME = ("device", "epochs", "log_every", "outputs", "resume", "save_every_minutes")


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds."""

    path: Path
    groups: checkpoint.Groups
    record: dict[str, Any]

    @property
    def step(self) -> int:
        return self.record["step"]

    @property
    def clock(self) -> dict[str, Any]:
        """What a `Run` that goes on from here must know."""
        return {
            "elapsed_s": float(self.record["elapsed_s"]),
            "began": float(self.record["began"]),
            "purge_step": self.step + 1,
        }


def folder_to_resume(settings: Settings, overrides: list[str]) -> Path:
    """The folder of the run that `resume` names. Raises UsageError for none, and for what may not change."""
    if not (settings.resume or "").strip():
        raise UsageError("resume= names no run: give a run's folder, or last; `cnnlab runs` lists what there is")
    given = {word.lstrip("+~").split("=", 1)[0] for word in overrides}
    if refused := sorted(given - set(FREE_ON_RESUME)):
        raise UsageError(f"{refused[0]} cannot change when a run resumes; free are {', '.join(FREE_ON_RESUME)}")
    return find_run(settings.resume or "", outputs_folder(settings.outputs))


def begun_before(folder: Path, overrides: list[str]) -> bool:
    """Whether a run of a sweep that is gone on with has a checkpoint; without, what an attempt logged is cleared away.
    Raises UsageError where the run was another one."""
    if not (folder / "state.json").exists():
        return False
    before = words_of(folder)
    if sorted(before) != sorted(overrides):
        raise UsageError(
            f"the run there was begun with {shlex.join(before)}; resume= takes the words that the sweep was begun with"
        )
    if checkpoint.steps(folder / "checkpoints"):
        return True
    for stale in (folder / "metrics.jsonl", *folder.glob("events.out.tfevents.*")):
        stale.unlink(missing_ok=True)
    return False


def taken(folder: Path) -> Lock:
    """The lock on a run's folder. Raises UsageError where another process has it."""
    lock = Lock(folder)
    if not lock.take(wait=False):
        raise UsageError(f"{folder} is running, in another process; two cannot train one run")
    return lock


def reopened(folder: Path, settings: Settings, overrides: list[str]) -> tuple[Settings, Saved]:
    """A run's own settings but for what may change, and its newest whole checkpoint; where that is not the last, it is
    said. Raises CnnlabError where none can be read, or the checkpoint does not describe itself, UsageError where what
    changes does not go with the rest."""
    groups, record, fallen_back = checkpoint.newest_whole(folder / "checkpoints")
    given = {word.lstrip("+~").split("=", 1)[0] for word in overrides}
    own = {"resume": None, "save_every_minutes": settings.save_every_minutes, **completed(record["config"])}
    path = checkpoint.path_at(folder / "checkpoints", record["step"])
    try:
        mine, saved = call(Settings, own, ""), Saved(path, groups, record)
        data_settings(mine.dataset)
        check_spec(SOURCES, source_settings(mine.dataset), "dataset")
        check_spec(OPTIMIZERS, mine.optim, "optim")
        check_spec(SCHEDULES, mine.schedule, "schedule")
        network = unfilled(mine.model, mine.augment, record)
        check_tensors(network, groups["model"])
        saved.clock  # noqa: B018  (raises where the record has no such numbers)
    except (UsageError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise misfit(path, error) from error
    if fallen_back:
        print(f"the last checkpoint is damaged; going on from the one before, step {record['step']:,}", file=sys.stderr)
    changed = {key: getattr(settings, key) for key in given if key != "resume"}
    return call(Settings, own | changed, ""), saved


def finished(folder: Path, settings: Settings, record: dict[str, Any]) -> float | None:
    """The validation accuracy of a run that has come to its end, said with its scores; None where there is more."""
    if run_state(folder) != "finished" or settings.epochs > record["config"]["epochs"]:
        return None
    if not (folder / "test.safetensors").exists():
        return None  # the run is scored again
    try:
        result = read_json(folder / "result.json")
        scores = {split: float(result[split]["accuracy"]) for split in ("validation", "test")}
    except (KeyError, TypeError, ValueError):
        return None  # what said so is gone: the run is scored again
    said = ", ".join(f"{split} {accuracy:.2%}" for split, accuracy in scores.items())
    print(f"{folder} is finished: {record['config']['epochs']} epochs, {said}; epochs=MORE goes on, where its schedule")
    print(f"allows it; `cnnlab train {typed('init', str(folder))}` begins a new run from its weights", flush=True)
    return scores["validation"]


def check_epochs(training: Training, record: dict[str, Any]) -> None:
    """A run may be made longer or shorter where the steps that it has taken would have been the same.
    Raises UsageError."""
    s, epoch, done = training.settings, len(training.train), record["step"]
    if training.steps < done:
        raise UsageError(f"epochs={s.epochs} ends before step {done:,}, which the run has reached")
    before = record["config"]["epochs"]
    if training.steps == before * epoch:
        return
    then = build(SCHEDULES, s.schedule, "schedule", before * epoch, epoch)
    if any(then(step) != training.schedule(step) for step in range(done)):
        raise UsageError(
            f"epochs cannot change: {s.schedule['name']} was laid out over {before} epochs, and other rates would have "
            f"led here;\n`cnnlab train init=RUN` begins a new run from its weights"
        )


def continued(settings: Settings, saved: Saved) -> Training:
    """A training that stands where a checkpoint was saved. Raises UsageError for epochs that cannot be, CnnlabError
    where the checkpoint's parts do not fit each other."""
    training = assemble(settings)
    if saved.record.get("data") != training.validation.fingerprint:
        raise CnnlabError(
            f"the pictures below {plain(str(settings.dataset.get('root')))} are not those that the run began with; "
            f"`cnnlab train init=RUN` begins a new one from its weights"
        )
    check_epochs(training, saved.record)
    try:
        put_back(training, saved.groups, saved.record)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise misfit(saved.path, error) from error
    return training
