"""`cnnlab train`: train a network and evaluate it."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cnnlab.core import checkpoint
from cnnlab.core.device import use_threads
from cnnlab.core.errors import CnnlabError, Stopped, UsageError, WriteFailed
from cnnlab.core.files import make_run_folder, resolve_outputs_folder, write_json
from cnnlab.core.link_safety import check_is_no_link
from cnnlab.core.run import FolderReplaced, Run
from cnnlab.core.schema import Config, call_checked
from cnnlab.core.signals import SignalRecorder
from cnnlab.engine.meter import NonFiniteError
from cnnlab.models import is_classifier
from cnnlab.tasks.train.finished_run import print_finished_run, read_final_accuracies
from cnnlab.tasks.train.loop import run_epochs
from cnnlab.tasks.train.next_commands import (
    choose_lower_rate,
    format_new_run_command,
    format_resume_command,
)
from cnnlab.tasks.train.preview import write_augment_preview
from cnnlab.tasks.train.reporting import (
    finish_run,
    print_precision_suggestion,
    print_train_header,
    record_start,
)
from cnnlab.tasks.train.resume import (
    SavedCheckpoint,
    build_resumed_trainer,
    can_resume_sweep_run,
    clear_earlier_attempt,
    find_run_to_resume,
    get_override_keys,
    lock_run,
    reopen_run,
    select_data_overrides,
    set_damaged_aside,
)
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.style_network import resolve_style_path
from cnnlab.tasks.train.trainer import Trainer, build_trainer
from cnnlab.tasks.train.warm_start import load_initial_weights, resolve_init_source
from cnnlab.tasks.trained_run import change_dataset


def run(config: Config, overrides: list[str], sweep_folder: Path | None = None) -> float:
    """Train, evaluate and write a run; return the validation accuracy, for sweepers."""
    settings = call_checked(TrainSettings, config, "")
    if settings.augment.get("preview"):
        if settings.resume is not None:
            raise UsageError("augment.preview and resume cannot be used together")
        return write_augment_preview(settings)
    if settings.resume is not None:
        return resume_run(settings, overrides)
    if sweep_folder:
        check_is_no_link(sweep_folder)
        if can_resume_sweep_run(sweep_folder, overrides):
            changed = select_data_overrides(overrides)
            return resume_run(replace(settings, resume=str(sweep_folder)), changed)
        clear_earlier_attempt(sweep_folder)
    settings = resolve_paths(settings)
    with use_threads(settings.threads):
        trainer = build_trainer(settings)
        if settings.init is not None:
            load_initial_weights(trainer)
        folder = sweep_folder or make_run_folder(
            resolve_outputs_folder(settings.outputs) / "train", settings.name
        )
        with lock_run(folder):
            return train_run(trainer, overrides, folder, None)


def resolve_paths(settings: TrainSettings) -> TrainSettings:
    """Return settings in which the paths of images and of initial weights are absolute.

    A run must find them from wherever it is resumed or evaluated.
    """
    dataset = change_dataset(settings.dataset, {"root": settings.dataset.get("root")})
    settings = replace(settings, dataset=dataset)
    if not is_classifier(settings.model):
        model = settings.model | {"style": resolve_style_path(settings)}
        settings = replace(settings, model=model)
    if settings.init is not None:
        settings = replace(settings, init=resolve_init_source(settings.init, settings.outputs))
    return settings


def resume_run(resume_settings: TrainSettings, overrides: list[str]) -> float:
    """Continue a run in its own folder with its own settings, or print that it is finished."""
    folder = find_run_to_resume(resume_settings, overrides)
    with lock_run(folder):
        settings, saved = reopen_run(folder, resume_settings, overrides)
        accuracies = read_final_accuracies(settings, saved)
        if accuracies is not None:
            print_finished_run(settings.dataset, saved, accuracies)
            return accuracies["validation"]
        with use_threads(settings.threads):
            trainer = build_resumed_trainer(settings, saved)
            set_damaged_aside(saved)
            return train_run(trainer, overrides, folder, saved)


def train_run(
    trainer: Trainer, overrides: list[str], folder: Path, saved: SavedCheckpoint | None
) -> float:
    """Train and evaluate a run, from a checkpoint if there is one; return its accuracy.

    The caller has the folder's lock.
    """
    start_step = saved.step if saved else 0
    print_train_header(trainer, folder, start_step)
    if not saved and "precision" not in get_override_keys(overrides):
        print_precision_suggestion(trainer)
    run = Run(folder, **saved.run_kwargs if saved else {})
    try:
        with SignalRecorder() as signals:
            record_start(run, trainer, overrides, start_step)
            run_epochs(run, trainer, start_step, signals)
            accuracy = finish_run(run, trainer)
    except BaseException as error:
        reported = record_failure(error, run, trainer)
        if reported is error:
            raise
        raise reported from error
    finally:
        run.close()
    signals.deliver()  # it came too late to stop this run, but not the runs of a sweep after it
    return accuracy


def record_failure(error: BaseException, run: Run, trainer: Trainer) -> BaseException:
    """Write how the run ended, if the disk permits; return the error to raise."""
    was_stopped = isinstance(error, (Stopped, KeyboardInterrupt))
    with suppress(WriteFailed, FolderReplaced):
        run.set_status("interrupted" if was_stopped else "failed", reason=str(error))
    if isinstance(error, NonFiniteError):
        return build_not_finite_error(error, run, trainer)
    if isinstance(error, WriteFailed):
        return CnnlabError(f"{error}; {describe_last_checkpoint(run)}")
    return error


def describe_last_checkpoint(run: Run) -> str:
    """Return which checkpoint the run can resume from, and the command."""
    steps = checkpoint.list_checkpoint_steps(run.checkpoints)
    if not steps:
        return "no checkpoint yet"
    command = format_resume_command(run.folder)
    return f"the last checkpoint is of step {steps[-1]:,}; resume with `{command}`"


def build_not_finite_error(error: NonFiniteError, run: Run, trainer: Trainer) -> CnnlabError:
    """Return an error that names the batch; write its indices to not_finite.json."""
    indices = trainer.train_batches.get_batch_indices(error.step)
    path = run.folder / "not_finite.json"
    with suppress(WriteFailed):
        write_json(path, {"step": error.step + 1, "indices": indices})
    first = ", ".join(map(str, indices[:5]))
    has_weights = bool(checkpoint.list_checkpoint_steps(run.checkpoints))
    root = trainer.settings.dataset.get("root")
    command = format_new_run_command(run.folder, root, has_weights=has_weights, without="optim.lr")
    lr = f"optim.lr={choose_lower_rate(run.folder, trainer.settings.optim['lr']):g}"
    fix = f"try `{command} {lr}`, or clip_norm=1" if command else f"try {lr}, or clip_norm=1"
    reported = CnnlabError(
        f"{error}, on training images {first}, ... (all {len(indices)} in {path});\n"
        f"a resumed run would fail there again; {fix}"
    )
    reported.can_retry = False
    return reported
