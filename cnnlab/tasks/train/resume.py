"""Where a training that does not begin from nothing begins: `resume` goes on with a run, `init` takes its weights."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import read_json, resolve_outputs_folder
from cnnlab.core.lock import FolderLock
from cnnlab.core.quoting import as_override, printable
from cnnlab.core.renamed_keys import rename_keys
from cnnlab.core.run_index import find_run, read_run_state
from cnnlab.core.schema import build_registered, call_checked, check_spec
from cnnlab.core.sweep_index import read_overrides
from cnnlab.data.build import get_source_settings, parse_data_settings
from cnnlab.data.sources import SOURCES
from cnnlab.engine.optim import OPTIMIZERS
from cnnlab.engine.schedule import SCHEDULES
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer, build_trainer, restore_training_state
from cnnlab.tasks.trained_run import (
    build_meta_model,
    build_mismatch_error,
    check_state_dict,
)

# What cannot change a run's numbers so far.
CHANGEABLE_ON_RESUME = ("device", "epochs", "log_every", "outputs", "resume", "save_every_minutes")


@dataclass(frozen=True)
class SavedCheckpoint:
    """What a checkpoint holds."""

    path: Path
    groups: checkpoint.TensorGroups
    record: dict[str, Any]

    @property
    def step(self) -> int:
        return self.record["step"]

    @property
    def run_kwargs(self) -> dict[str, Any]:
        """What a `Run` that goes on from here must know."""
        return {
            "elapsed_s": float(self.record["elapsed_s"]),
            "began": float(self.record["began"]),
            "purge_step": self.step + 1,
        }


def find_run_to_resume(settings: TrainSettings, overrides: list[str]) -> Path:
    """The folder of the run that `resume` names. Raises UsageError for none, and for what may not change."""
    if not (settings.resume or "").strip():
        raise UsageError(
            "resume= names no run: give a run's folder, or last; `cnnlab runs` lists what there is"
        )
    given = {word.lstrip("+~").split("=", 1)[0] for word in overrides}
    if refused := sorted(given - set(CHANGEABLE_ON_RESUME)):
        raise UsageError(
            f"{refused[0]} cannot change when a run resumes; free are {', '.join(CHANGEABLE_ON_RESUME)}"
        )
    return find_run(settings.resume or "", resolve_outputs_folder(settings.outputs))


def can_resume_sweep_run(folder: Path, overrides: list[str]) -> bool:
    """Whether a run of a sweep that is gone on with has a checkpoint; without, what an attempt logged is cleared away.
    Raises UsageError where the run was another one."""
    if not (folder / "state.json").exists():
        return False
    before = read_overrides(folder)
    if sorted(before) != sorted(overrides):
        raise UsageError(
            f"the run there was begun with {shlex.join(before)}; resume= takes the words that the sweep was begun with"
        )
    if checkpoint.list_checkpoint_steps(folder / "checkpoints"):
        return True
    for stale in (folder / "metrics.jsonl", *folder.glob("events.out.tfevents.*")):
        stale.unlink(missing_ok=True)
    return False


def lock_run(folder: Path) -> FolderLock:
    """The lock on a run's folder. Raises UsageError where another process has it."""
    lock = FolderLock(folder)
    if not lock.acquire(blocking=False):
        raise UsageError(f"{folder} is running, in another process; two cannot train one run")
    return lock


def reopen_run(
    folder: Path, settings: TrainSettings, overrides: list[str]
) -> tuple[TrainSettings, SavedCheckpoint]:
    """A run's own settings but for what may change, and its newest whole checkpoint; where that is not the last, it is
    said. Raises CnnlabError where none can be read, or the checkpoint does not describe itself, UsageError where what
    changes does not go with the rest."""
    groups, record, fallen_back = checkpoint.load_newest_valid(folder / "checkpoints")
    given = {word.lstrip("+~").split("=", 1)[0] for word in overrides}
    own = {
        "resume": None,
        "save_every_minutes": settings.save_every_minutes,
        **rename_keys("train", record["config"]),
    }
    path = checkpoint.checkpoint_path(folder / "checkpoints", record["step"])
    try:
        mine, saved = call_checked(TrainSettings, own, ""), SavedCheckpoint(path, groups, record)
        parse_data_settings(mine.dataset)
        check_spec(SOURCES, get_source_settings(mine.dataset), "dataset")
        check_spec(OPTIMIZERS, mine.optim, "optim")
        check_spec(SCHEDULES, mine.schedule, "schedule")
        network = build_meta_model(mine.model, mine.augment, record)
        check_state_dict(network, groups["model"])
        saved.run_kwargs  # noqa: B018  (raises where the record has no such numbers)
    except (UsageError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise build_mismatch_error(path, error) from error
    if fallen_back:
        print(
            f"the last checkpoint is damaged; going on from the one before, step {record['step']:,}",
            file=sys.stderr,
        )
    changed = {key: getattr(settings, key) for key in given if key != "resume"}
    return call_checked(TrainSettings, own | changed, ""), saved


def report_finished_run(
    folder: Path, settings: TrainSettings, record: dict[str, Any]
) -> float | None:
    """The validation accuracy of a run that has come to its end, said with its scores; None where there is more."""
    if read_run_state(folder) != "finished" or settings.epochs > record["config"]["epochs"]:
        return None
    if not (folder / "test.safetensors").exists():
        return None  # the run is scored again
    try:
        result = read_json(folder / "result.json")
        scores = {split: float(result[split]["accuracy"]) for split in ("validation", "test")}
    except (KeyError, TypeError, ValueError):
        return None  # what said so is gone: the run is scored again
    said = ", ".join(f"{split} {accuracy:.2%}" for split, accuracy in scores.items())
    print(
        f"{folder} is finished: {record['config']['epochs']} epochs, {said}; epochs=MORE goes on, where its schedule"
    )
    print(
        f"allows it; `cnnlab train {as_override('init', str(folder))}` begins a new run from its weights",
        flush=True,
    )
    return scores["validation"]


def check_epochs_change(training: Trainer, record: dict[str, Any]) -> None:
    """A run may be made longer or shorter where the steps that it has taken would have been the same.
    Raises UsageError."""
    s, epoch, done = training.settings, len(training.train_batches), record["step"]
    if training.total_steps < done:
        raise UsageError(f"epochs={s.epochs} ends before step {done:,}, which the run has reached")
    before = record["config"]["epochs"]
    if training.total_steps == before * epoch:
        return
    then = build_registered(SCHEDULES, s.schedule, "schedule", before * epoch, epoch)
    if any(then(step) != training.schedule(step) for step in range(done)):
        raise UsageError(
            f"epochs cannot change: {s.schedule['name']} was laid out over {before} epochs, and other rates would have "
            f"led here;\n`cnnlab train init=RUN` begins a new run from its weights"
        )


def build_resumed_trainer(settings: TrainSettings, saved: SavedCheckpoint) -> Trainer:
    """A training that stands where a checkpoint was saved. Raises UsageError for epochs that cannot be, CnnlabError
    where the checkpoint's parts do not fit each other."""
    training = build_trainer(settings)
    if saved.record.get("data") != training.validation_set.fingerprint:
        raise CnnlabError(
            f"the pictures below {printable(str(settings.dataset.get('root')))} are not those that the run began with; "
            f"`cnnlab train init=RUN` begins a new one from its weights"
        )
    check_epochs_change(training, saved.record)
    try:
        restore_training_state(training, saved.groups, saved.record)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise build_mismatch_error(saved.path, error) from error
    return training
