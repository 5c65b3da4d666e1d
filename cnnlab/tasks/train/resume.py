"""Continue an interrupted run in its own folder, from its newest checkpoint."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import resolve_outputs_folder
from cnnlab.core.keys import select_keys
from cnnlab.core.lock import FolderLock
from cnnlab.core.run_index import find_run
from cnnlab.core.schema import Config, build_registered, call_checked, check_spec
from cnnlab.core.sweep_index import read_overrides
from cnnlab.data.build import get_source_settings, parse_data_settings
from cnnlab.data.image_folder import explain_fingerprint
from cnnlab.data.sources import SOURCES
from cnnlab.engine.optim import OPTIMIZERS
from cnnlab.engine.schedule import SCHEDULES
from cnnlab.tasks.train.next_commands import format_new_run_command
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer, build_trainer, restore_training_state
from cnnlab.tasks.trained_run import (
    build_meta_model,
    build_mismatch_error,
    change_dataset,
    check_images_exist,
    check_state_dict,
    upgrade_run_config,
)

# Where the images are and how many threads decode them changes no number.
CHANGEABLE_DATA_KEYS = ("dataset.root", "dataset.workers")
CHANGEABLE_ON_RESUME = (
    *select_keys(TrainSettings, "can_change_on_resume"),
    *CHANGEABLE_DATA_KEYS,
)


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint's path, tensors and record, and the paths of newer ones, which are damaged."""

    path: Path
    groups: checkpoint.TensorGroups
    record: dict[str, Any]
    damaged: list[Path]

    @property
    def step(self) -> int:
        """The number of steps taken."""
        return self.record["step"]

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.path.parent.parent

    @property
    def has_stopped_early(self) -> bool:
        """Whether this is the end of a run that stopped early, if it is of a finished run."""
        patience = self.record["config"]["early_stop_epochs"]
        return patience is not None and not self.damaged and self.step < self.record["steps"]

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
        raise UsageError("resume= names no run: give a run's folder, or last")
    if refused := sorted(get_override_keys(overrides) - set(CHANGEABLE_ON_RESUME)):
        changeable = ", ".join(CHANGEABLE_ON_RESUME)
        raise UsageError(
            f"{refused[0]} cannot change when a run resumes; these keys can: {changeable}"
        )
    return find_run(settings.resume or "", resolve_outputs_folder(settings.outputs))


def can_resume_sweep_run(folder: Path, overrides: list[str]) -> bool:
    """Return whether a run of a resumed sweep has a checkpoint that can be read.

    Raises UsageError if the run in `folder` was started with other overrides.
    """
    if not (folder / "state.json").exists():
        return False
    earlier = read_overrides(folder)
    if get_override_keys(list({*earlier} ^ {*overrides})) - set(CHANGEABLE_DATA_KEYS):
        raise UsageError(
            f"the run in {folder} was started with {shlex.join(earlier)}; "
            f"resume= takes the same overrides as the sweep"
        )
    return bool(checkpoint.read_records(folder / "checkpoints"))


def select_data_overrides(overrides: list[str]) -> list[str]:
    """Return the overrides that may change although a sweep's runs keep theirs."""
    return [word for word in overrides if get_override_keys([word]) <= {*CHANGEABLE_DATA_KEYS}]


def clear_earlier_attempt(folder: Path) -> None:
    """Remove the logs of an earlier attempt in a run's folder, if there was one, and set its
    checkpoints aside, none of which can be read."""
    if (folder / "state.json").exists():
        for log in (folder / "metrics.jsonl", *folder.glob("events.out.tfevents.*")):
            log.unlink(missing_ok=True)
        saved = folder / "checkpoints"
        steps = checkpoint.list_checkpoint_steps(saved)
        checkpoint.set_aside([checkpoint.checkpoint_path(saved, step) for step in steps])


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

    Raises CnnlabError if none can be read or the checkpoint does not describe itself, UsageError if
    the overrides do not fit the rest.
    """
    groups, record, damaged = checkpoint.load_newest_valid(folder / "checkpoints")
    path = checkpoint.checkpoint_path(folder / "checkpoints", record["step"])
    saved = SavedCheckpoint(path, groups, record, damaged)
    config = check_checkpoint(saved, settings.save_every_minutes)
    keys = get_override_keys(overrides) - {"resume"}
    changed = {key: getattr(settings, key) for key in keys - {*CHANGEABLE_DATA_KEYS}}
    data_names = [key.partition(".")[2] for key in keys & {*CHANGEABLE_DATA_KEYS}]
    data = {name: settings.dataset.get(name) for name in data_names}
    changed["dataset"] = change_dataset(config["dataset"], data)
    return call_checked(TrainSettings, config | changed, ""), saved


def check_checkpoint(saved: SavedCheckpoint, save_every_minutes: float | None) -> Config:
    """Return a checkpoint's configuration. Raises CnnlabError if it and the tensors do not fit each
    other."""
    try:
        config = upgrade_run_config(saved.record["config"], save_every_minutes)
        settings = call_checked(TrainSettings, config, "")
        parse_data_settings(settings.dataset)
        check_spec(SOURCES, get_source_settings(settings.dataset), "dataset")
        check_spec(OPTIMIZERS, settings.optim, "optim")
        check_spec(SCHEDULES, settings.schedule, "schedule")
        model = build_meta_model(settings.model, settings.augment, saved.record)
        check_state_dict(model, saved.groups["model"])
        _ = saved.run_kwargs  # raises where the record lacks these numbers
        return config
    except (UsageError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise build_mismatch_error(saved.path, error) from error


def set_damaged_aside(saved: SavedCheckpoint) -> None:
    """Rename the damaged checkpoints after the one that a run resumes from, and name them."""
    checkpoint.set_aside(saved.damaged)
    for path in saved.damaged:
        print(
            f"{path} is damaged and was set aside; resuming from step {saved.step:,} instead",
            file=sys.stderr,
        )


def keeps_learning_rates(schedule: Config, record: dict[str, Any], epochs: int) -> bool:
    """Return whether a run's steps so far would have had the same learning rates with `epochs`."""
    earlier_epochs = record["config"]["epochs"]
    epoch_steps = record["steps"] // earlier_epochs
    rates, new_rates = (
        build_registered(SCHEDULES, schedule, "schedule", count * epoch_steps, epoch_steps)
        for count in (earlier_epochs, epochs)
    )
    return all(rates(step) == new_rates(step) for step in range(record["step"]))


def check_epochs_change(trainer: Trainer, saved: SavedCheckpoint) -> None:
    """Raise UsageError if other `epochs` would have changed the steps already taken."""
    settings, step, earlier = trainer.settings, saved.step, saved.record["config"]["epochs"]
    if trainer.total_steps < step:
        raise UsageError(f"epochs={settings.epochs} ends before step {step:,}, already reached")
    record = saved.record | {"steps": earlier * len(trainer.train_batches)}
    if settings.epochs != earlier and not keeps_learning_rates(
        settings.schedule, record, settings.epochs
    ):
        raise UsageError(
            f"epochs cannot change: with schedule={settings.schedule['name']} the learning rates "
            f"so far depend on epochs={earlier}"
            f"{suggest_new_run(settings, saved.folder, epochs=settings.epochs)}"
        )


def suggest_new_run(settings: TrainSettings, folder: Path, epochs: int | None = None) -> str:
    """Return a line with the command of a new run from a run's weights, of as many epochs, or of
    `epochs`; empty if there is none."""
    without = "" if epochs is None else "epochs"
    command = format_new_run_command(folder, settings.dataset.get("root"), without=without)
    more = "" if epochs is None else f" epochs={epochs}"
    return f";\nnew run from its weights: {command}{more}" if command else ""


def build_resumed_trainer(settings: TrainSettings, saved: SavedCheckpoint) -> Trainer:
    """Return a trainer in the state of a checkpoint.

    Raises UsageError if `epochs` may not change so, CnnlabError if the data have changed or the
    checkpoint's parts do not fit each other.
    """
    check_images_exist(settings.dataset)
    trainer = build_trainer(settings)
    if saved.record.get("data") != trainer.validation_set.fingerprint:
        root, recorded = str(settings.dataset.get("root")), saved.record.get("data")
        reason = explain_fingerprint(root, recorded, trainer.validation_set.fingerprint)
        raise CnnlabError(f"{reason}{suggest_new_run(settings, saved.folder)}")
    if saved.record.get("objective") != trainer.objective.fingerprint:
        raise CnnlabError(
            "the style image, or the weights of model.features, have changed since the run started"
            f"{suggest_new_run(settings, saved.folder)}"
        )
    check_epochs_change(trainer, saved)
    try:
        restore_training_state(trainer, saved.groups, saved.record)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise build_mismatch_error(saved.path, error) from error
    return trainer
