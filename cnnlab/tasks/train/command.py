"""`cnnlab train`: from a configuration to a scored run."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cnnlab.core import checkpoint
from cnnlab.core.device import threads
from cnnlab.core.errors import CnnlabError, Stopped, Unwritable, UsageError
from cnnlab.core.files import new_folder, outputs_folder, write_json
from cnnlab.core.quoting import typed
from cnnlab.core.run import Run
from cnnlab.core.schema import Config, call
from cnnlab.core.signals import Signals
from cnnlab.data.decode import WorkerDied
from cnnlab.engine.meter import NotFinite
from cnnlab.tasks.train.loop import resume_command, watch
from cnnlab.tasks.train.preview import preview
from cnnlab.tasks.train.reporting import begin, finish, introduce
from cnnlab.tasks.train.resume import Saved, begun_before, continued, finished, folder_to_resume, reopened, taken
from cnnlab.tasks.train.settings import Settings
from cnnlab.tasks.train.trainer import Training, assemble
from cnnlab.tasks.train.warm_start import initial_weights, source_of


def run(config: Config, overrides: list[str], sweep_folder: Path | None = None) -> float:
    """Train, score and write it all down; returns the validation accuracy, for sweepers."""
    settings = call(Settings, config, "")
    if settings.augment.get("preview"):
        if settings.resume is not None:
            raise UsageError(
                "augment.preview shows what would be trained, and resume= names what has been: one of them"
            )
        return preview(settings)
    if settings.resume is not None:
        return resume(settings, overrides)
    if sweep_folder and begun_before(sweep_folder, overrides):
        return resume(replace(settings, resume=str(sweep_folder)), [])
    root = settings.dataset.get("root")
    if root and isinstance(root, str):  # a run must find its pictures from wherever it is resumed or scored
        settings = replace(settings, dataset=settings.dataset | {"root": str(Path(root).expanduser().absolute())})
    if settings.init is not None:
        settings = replace(settings, init=source_of(settings.init, settings.outputs))
    with threads(settings.threads):
        training = assemble(settings)
        if settings.init is not None:
            initial_weights(training)
        folder = sweep_folder or new_folder(outputs_folder(settings.outputs) / "train", settings.name)
        with taken(folder):
            return train(training, overrides, folder, None)


def resume(given: Settings, overrides: list[str]) -> float:
    """Go on with a run, in its own folder and by its own settings, or say that it is finished."""
    folder = folder_to_resume(given, overrides)
    with taken(folder):
        settings, saved = reopened(folder, given, overrides)
        if (accuracy := finished(folder, settings, saved.record)) is not None:
            return accuracy
        with threads(settings.threads):
            return train(continued(settings, saved), overrides, folder, saved)


def train(training: Training, overrides: list[str], folder: Path, saved: Saved | None) -> float:
    """A run from its beginning or, given what was saved, from there. The caller has the folder's lock."""
    done = saved.step if saved else 0
    introduce(training, folder, done)
    run = Run(folder, **saved.clock if saved else {})
    try:
        with Signals() as signals:
            begin(run, training, overrides, done)
            watch(run, training, done, signals)
            return finish(run, training)
    except BaseException as error:
        told = ended(error, run, training)
        if told is error:
            raise
        raise told from error
    finally:
        run.close()


def ended(error: BaseException, run: Run, training: Training) -> BaseException:
    """Write how the run ended, as far as the disk takes it; the error to raise, with what is still good."""
    stopped = isinstance(error, (Stopped, KeyboardInterrupt))
    with suppress(Unwritable):
        run.state("interrupted" if stopped else "failed", reason=str(error))
    if isinstance(error, NotFinite):
        return not_finite(error, run, training)
    if isinstance(error, Unwritable | WorkerDied):
        return CnnlabError(f"{error}; {last_good(run)}")
    return error


def last_good(run: Run) -> str:
    """What can be gone on from."""
    there = checkpoint.steps(run.checkpoints)
    if not there:
        return "no checkpoint yet"
    return f"the last good checkpoint is of step {there[-1]:,}, and `{resume_command(run.folder)}` goes on from it"


def not_finite(error: NotFinite, run: Run, training: Training) -> CnnlabError:
    """Which batch it was, and what is still good."""
    indices = training.train.indices(error.step)
    with suppress(Unwritable):
        write_json(run.folder / "not_finite.json", {"step": error.step + 1, "indices": indices})
    first = ", ".join(map(str, indices[:5]))
    anew = f"cnnlab train {typed('init', str(run.folder))}" if checkpoint.steps(run.checkpoints) else "cnnlab train"
    return CnnlabError(
        f"{error}, on training pictures {first}, ... (all {len(indices)} in {run.folder}/not_finite.json);\n"
        f"resumed, it would come there again; with `{anew}` a smaller optim.lr or clip_norm=1 often helps"
    )
