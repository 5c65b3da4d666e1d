"""Continue an interrupted run in its own folder, from its newest checkpoint."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import read_json, resolve_outputs_folder
from cnnlab.core.keys import select_keys
from cnnlab.core.lock import FolderLock
from cnnlab.core.quoting import as_override
from cnnlab.core.renamed_keys import rename_keys
from cnnlab.core.run_index import find_run, read_run_state
from cnnlab.core.schema import build_registered, call_checked, check_spec
from cnnlab.core.sweep_index import read_overrides
from cnnlab.data.build import get_source_settings, parse_data_settings
from cnnlab.data.image_folder import explain_fingerprint
from cnnlab.data.sources import SOURCES
from cnnlab.engine.optim import OPTIMIZERS
from cnnlab.engine.schedule import SCHEDULES
from cnnlab.tasks.train.loop import format_epochs, format_resume_command
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer, build_trainer, restore_training_state
from cnnlab.tasks.trained_run import (
    build_meta_model,
    build_mismatch_error,
    check_state_dict,
)

CHANGEABLE_ON_RESUME = select_keys(TrainSettings, "can_change_on_resume")


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint's path, tensors and record."""

    path: Path
    groups: checkpoint.TensorGroups
    record: dict[str, Any]

    @property
    def step(self) -> int:
        """The number of steps taken."""
        return self.record["step"]

    @property
    def run_kwargs(self) -> dict[str, Any]:
        """The arguments of the `Run` that continues from here."""
        return {
            "elapsed_s": float(self.record["elapsed_s"]),
            "began": float(self.record["began"]),
            "purge_step": self.step + 1,
        }


def get_override_keys(overrides: list[str]) -> set[str]:
    """Return the keys of `key=value` words, without Hydra's `+` and `~`."""
    return {word.lstrip("+~").split("=", 1)[0] for word in overrides}


def find_run_to_resume(settings: TrainSettings, overrides: list[str]) -> Path:
    """Return the folder of the run that `resume` names.

    Raises UsageError if there is none, or for a key that may not change.
    """
    if not (settings.resume or "").strip():
        raise UsageError(
            "resume= names no run: give a run's folder, or last; `cnnlab runs` lists them"
        )
    if refused := sorted(get_override_keys(overrides) - set(CHANGEABLE_ON_RESUME)):
        changeable = ", ".join(CHANGEABLE_ON_RESUME)
        raise UsageError(
            f"{refused[0]} cannot change when a run resumes; these keys can: {changeable}"
        )
    return find_run(settings.resume or "", resolve_outputs_folder(settings.outputs))


def can_resume_sweep_run(folder: Path, overrides: list[str]) -> bool:
    """Return whether a run of a resumed sweep has a checkpoint.

    Raises UsageError if the run in `folder` was started with other overrides.
    """
    if not (folder / "state.json").exists():
        return False
    earlier = read_overrides(folder)
    if sorted(earlier) != sorted(overrides):
        raise UsageError(
            f"the run in {folder} was started with {shlex.join(earlier)}; "
            f"resume= takes the same overrides as the sweep"
        )
    return bool(checkpoint.list_checkpoint_steps(folder / "checkpoints"))


def clear_logs(folder: Path) -> None:
    """Remove the logs of an earlier attempt in a run's folder, if there was one."""
    if (folder / "state.json").exists():
        for log in (folder / "metrics.jsonl", *folder.glob("events.out.tfevents.*")):
            log.unlink(missing_ok=True)


def lock_run(folder: Path) -> FolderLock:
    """Return the acquired lock of a run's folder. Raises UsageError if another process has it."""
    lock = FolderLock(folder)
    if not lock.acquire(blocking=False):
        raise UsageError(f"{folder} is being trained by another process")
    return lock


def reopen_run(
    folder: Path, settings: TrainSettings, overrides: list[str]
) -> tuple[TrainSettings, SavedCheckpoint]:
    """Return a run's settings, with the overrides that may change, and its newest valid checkpoint.

    Prints a warning if the last checkpoint is damaged. Raises CnnlabError if none can be read or
    the checkpoint does not describe itself, UsageError if the overrides do not fit the rest.
    """
    groups, record, is_fallback = checkpoint.load_newest_valid(folder / "checkpoints")
    path = checkpoint.checkpoint_path(folder / "checkpoints", record["step"])
    saved = SavedCheckpoint(path, groups, record)
    config = {
        "resume": None,
        "save_every_minutes": settings.save_every_minutes,
        **rename_keys("train", record["config"]),
    }
    check_checkpoint(saved, config)
    if is_fallback:
        print(
            f"the last checkpoint is damaged; resuming from step {record['step']:,} instead",
            file=sys.stderr,
        )
    changed = {
        key: getattr(settings, key) for key in get_override_keys(overrides) if key != "resume"
    }
    return call_checked(TrainSettings, config | changed, ""), saved


def check_checkpoint(saved: SavedCheckpoint, config: dict[str, Any]) -> None:
    """Raise CnnlabError if a checkpoint's configuration and tensors do not fit each other."""
    try:
        settings = call_checked(TrainSettings, config, "")
        parse_data_settings(settings.dataset)
        check_spec(SOURCES, get_source_settings(settings.dataset), "dataset")
        check_spec(OPTIMIZERS, settings.optim, "optim")
        check_spec(SCHEDULES, settings.schedule, "schedule")
        model = build_meta_model(settings.model, settings.augment, saved.record)
        check_state_dict(model, saved.groups["model"])
        _ = saved.run_kwargs  # raises where the record lacks these numbers
    except (UsageError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise build_mismatch_error(saved.path, error) from error


def read_final_accuracies(
    folder: Path, settings: TrainSettings, record: dict[str, Any]
) -> dict[str, float] | None:
    """Return {split: accuracy} of a finished run; None if it must train on or be evaluated again.

    It must be evaluated again where the files that hold its scores are missing or damaged.
    """
    if read_run_state(folder) != "finished" or settings.epochs > record["config"]["epochs"]:
        return None
    if not (folder / "test.safetensors").exists():
        return None
    try:
        result = read_json(folder / "result.json")
        return {split: float(result[split]["accuracy"]) for split in ("validation", "test")}
    except (KeyError, TypeError, ValueError):
        return None


def print_finished_run(folder: Path, epochs: int, accuracies: dict[str, float]) -> None:
    """Print a finished run's scores, and the commands that train further."""
    scores = ", ".join(f"{split} {accuracy:.2%}" for split, accuracy in accuracies.items())
    print(
        f"{folder} is finished: {format_epochs(epochs)}, {scores}\n"
        f"train longer (if the schedule allows it): {format_resume_command(folder)} epochs=N\n"
        f"new run from its weights: cnnlab train {as_override('init', str(folder))}",
        flush=True,
    )


def check_epochs_change(trainer: Trainer, record: dict[str, Any]) -> None:
    """Raise UsageError if other `epochs` would have changed the steps already taken."""
    settings, epoch_steps, step = trainer.settings, len(trainer.train_batches), record["step"]
    if trainer.total_steps < step:
        raise UsageError(f"epochs={settings.epochs} ends before step {step:,}, already reached")
    epochs = record["config"]["epochs"]
    if trainer.total_steps == epochs * epoch_steps:
        return
    earlier = build_registered(
        SCHEDULES, settings.schedule, "schedule", epochs * epoch_steps, epoch_steps
    )
    if any(earlier(i) != trainer.schedule(i) for i in range(step)):
        raise UsageError(
            f"epochs cannot change: with schedule={settings.schedule['name']} the learning rates "
            f"so far depend on epochs={epochs};\n"
            f"start a new run from its weights with `cnnlab train init=RUN`"
        )


def build_resumed_trainer(settings: TrainSettings, saved: SavedCheckpoint) -> Trainer:
    """Return a trainer in the state of a checkpoint.

    Raises UsageError if `epochs` may not change so, CnnlabError if the data have changed or the
    checkpoint's parts do not fit each other.
    """
    trainer = build_trainer(settings)
    if saved.record.get("data") != trainer.validation_set.fingerprint:
        root, recorded = str(settings.dataset.get("root")), saved.record.get("data")
        reason = explain_fingerprint(root, recorded, trainer.validation_set.fingerprint)
        raise CnnlabError(
            f"{reason};\nstart a new run from its weights with `cnnlab train init=RUN`"
        )
    check_epochs_change(trainer, saved.record)
    try:
        restore_training_state(trainer, saved.groups, saved.record)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise build_mismatch_error(saved.path, error) from error
    return trainer
