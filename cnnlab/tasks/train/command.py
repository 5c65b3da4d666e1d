"""`cnnlab train`: from a configuration to a scored run."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cnnlab.core import checkpoint
from cnnlab.core.device import use_threads
from cnnlab.core.errors import CnnlabError, Stopped, UsageError, WriteFailed
from cnnlab.core.files import make_run_folder, resolve_outputs_folder, write_json
from cnnlab.core.quoting import as_override
from cnnlab.core.run import Run
from cnnlab.core.schema import Config, call_checked
from cnnlab.core.signals import SignalRecorder
from cnnlab.engine.meter import NonFiniteError
from cnnlab.tasks.train.loop import format_resume_command, run_epochs
from cnnlab.tasks.train.preview import write_augment_preview
from cnnlab.tasks.train.reporting import finish_run, print_train_header, record_start
from cnnlab.tasks.train.resume import (
    SavedCheckpoint,
    build_resumed_trainer,
    can_resume_sweep_run,
    find_run_to_resume,
    lock_run,
    reopen_run,
    report_finished_run,
)
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer, build_trainer
from cnnlab.tasks.train.warm_start import load_initial_weights, resolve_init_source


def run(config: Config, overrides: list[str], sweep_folder: Path | None = None) -> float:
    """Train, score and write it all down; returns the validation accuracy, for sweepers."""
    settings = call_checked(TrainSettings, config, "")
    if settings.augment.get("preview"):
        if settings.resume is not None:
            raise UsageError(
                "augment.preview shows what would be trained, and resume= names what has been: one of them"
            )
        return write_augment_preview(settings)
    if settings.resume is not None:
        return resume_run(settings, overrides)
    if sweep_folder and can_resume_sweep_run(sweep_folder, overrides):
        return resume_run(replace(settings, resume=str(sweep_folder)), [])
    root = settings.dataset.get("root")
    if root and isinstance(
        root, str
    ):  # a run must find its pictures from wherever it is resumed or scored
        settings = replace(
            settings, dataset=settings.dataset | {"root": str(Path(root).expanduser().absolute())}
        )
    if settings.init is not None:
        settings = replace(settings, init=resolve_init_source(settings.init, settings.outputs))
    with use_threads(settings.threads):
        training = build_trainer(settings)
        if settings.init is not None:
            load_initial_weights(training)
        folder = sweep_folder or make_run_folder(
            resolve_outputs_folder(settings.outputs) / "train", settings.name
        )
        with lock_run(folder):
            return train_run(training, overrides, folder, None)


def resume_run(given: TrainSettings, overrides: list[str]) -> float:
    """Go on with a run, in its own folder and by its own settings, or say that it is finished."""
    folder = find_run_to_resume(given, overrides)
    with lock_run(folder):
        settings, saved = reopen_run(folder, given, overrides)
        if (accuracy := report_finished_run(folder, settings, saved.record)) is not None:
            return accuracy
        with use_threads(settings.threads):
            return train_run(build_resumed_trainer(settings, saved), overrides, folder, saved)


def train_run(
    training: Trainer, overrides: list[str], folder: Path, saved: SavedCheckpoint | None
) -> float:
    """A run from its beginning or, given what was saved, from there. The caller has the folder's lock."""
    done = saved.step if saved else 0
    print_train_header(training, folder, done)
    run = Run(folder, **saved.run_kwargs if saved else {})
    try:
        with SignalRecorder() as signals:
            record_start(run, training, overrides, done)
            run_epochs(run, training, done, signals)
            return finish_run(run, training)
    except BaseException as error:
        told = record_failure(error, run, training)
        if told is error:
            raise
        raise told from error
    finally:
        run.close()


def record_failure(error: BaseException, run: Run, training: Trainer) -> BaseException:
    """Write how the run ended, as far as the disk takes it; the error to raise, with what is still good."""
    stopped = isinstance(error, (Stopped, KeyboardInterrupt))
    with suppress(WriteFailed):
        run.set_status("interrupted" if stopped else "failed", reason=str(error))
    if isinstance(error, NonFiniteError):
        return build_not_finite_error(error, run, training)
    if isinstance(error, WriteFailed):
        return CnnlabError(f"{error}; {describe_last_checkpoint(run)}")
    return error


def describe_last_checkpoint(run: Run) -> str:
    """What can be gone on from."""
    there = checkpoint.list_checkpoint_steps(run.checkpoints)
    if not there:
        return "no checkpoint yet"
    return f"the last good checkpoint is of step {there[-1]:,}, and `{format_resume_command(run.folder)}` goes on from it"


def build_not_finite_error(error: NonFiniteError, run: Run, training: Trainer) -> CnnlabError:
    """Which batch it was, and what is still good."""
    indices = training.train_batches.get_batch_indices(error.step)
    with suppress(WriteFailed):
        write_json(run.folder / "not_finite.json", {"step": error.step + 1, "indices": indices})
    first = ", ".join(map(str, indices[:5]))
    anew = (
        f"cnnlab train {as_override('init', str(run.folder))}"
        if checkpoint.list_checkpoint_steps(run.checkpoints)
        else "cnnlab train"
    )
    return CnnlabError(
        f"{error}, on training pictures {first}, ... (all {len(indices)} in {run.folder}/not_finite.json);\n"
        f"resumed, it would come there again; with `{anew}` a smaller optim.lr or clip_norm=1 often helps"
    )
