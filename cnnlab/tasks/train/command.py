"""`cnnlab train`: from a configuration to a scored run."""

import shlex
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.device import describe, environment, threads
from cnnlab.core.errors import CnnlabError, Stopped, Unwritable, UsageError
from cnnlab.core.files import new_folder, write_json
from cnnlab.core.progress import Progress, clock
from cnnlab.core.run import Run, read_lines
from cnnlab.core.schema import call
from cnnlab.core.signals import Signals
from cnnlab.core.quoting import typed
from cnnlab.data.image_folder import WorkerDied
from cnnlab.data.dataset import PictureSet
from cnnlab.engine.fit import NotFinite, Report
from cnnlab.engine.metrics import brief, wilson
from cnnlab.tasks import trained_run
from cnnlab.tasks.train.preview import preview
from cnnlab.tasks.train.resume import Saved, begun_before, continued, finished, folder_to_resume, initial_weights, reopened, source_of, taken
from cnnlab.tasks.train.trainer import Settings, Training, assemble, state
from cnnlab.viz.weight_images import filter_sheet, first_weights, picture_sheet

SNAPSHOTS = 10  # times in a run that pictures of filters and histograms of weights go to TensorBoard
# What runs are not compared by, in TensorBoard's table of hyper-parameters.
NOT_TUNED = (
    *("augment.eval.", "augment.preview", "dataset.light_on_dark", "dataset.mean", "dataset.root", "dataset.std"),
    *("device", "eval_batch_size", "init", "log_every", "outputs", "resume", "save_every_minutes", "validate_every"),
)


def run(config: trained_run.Config, overrides: list[str], sweep_folder: Path | None = None) -> float:
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
        folder = sweep_folder or new_folder(trained_run.outputs_folder(settings.outputs) / "train", settings.name)
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


def resume_command(folder: Path) -> str:
    return f"cnnlab train {typed('resume', str(folder))}"


def introduce(training: Training, folder: Path, done: int) -> None:
    """The first lines: what trains on what, where, and how much of it."""
    s, parameters = training.settings, sum(p.numel() for p in training.model.parameters())
    print(f"cnnlab train: {s.model['name']} on {s.dataset['name']}, device {describe(training.device)}")
    print(
        f"{parameters:,} parameters; {len(training.train.pictures):,} pictures to train on, "
        f"{len(training.validation):,} to validate;\n{s.epochs} epochs of {len(training.train):,} steps"
        + (f", going on after step {done:,}" if done else "")
    )
    print(folder, flush=True)


def begin(run: Run, training: Training, overrides: list[str], done: int) -> None:
    """Write what the run is; before the first step, the pictures as the network sees them and its filters."""
    if done:
        run.cut(done)
        run.resumed(asdict(training.settings), overrides, environment(training.device), done)
    else:
        run.describe(asdict(training.settings), overrides, environment(training.device))
    run.state("running")
    if not done:
        pictures, _ = next(training.train.epoch(0))
        run.sheet("pictures/as_the_network_sees_them", picture_sheet(pictures), 0)
        weights = first_weights(training.model, training.input_shape)
        if weights is not None:
            run.keep_filters(weights, 0)


def watch(run: Run, training: Training, done: int, signals: Signals) -> None:
    """Go through the loop's reports; at each epoch's end validate, show and save."""
    progress, validation = Progress(), dict[str, float]()
    validated = validations(run)
    best, best_epoch = best_so_far(validated, len(training.train))
    patience, pause, saved_at = training.settings.early_stop_epochs, training.settings.save_every_minutes, monotonic()
    if patience is not None and done in validated and (done - 1) // len(training.train) - best_epoch >= patience:
        return  # it had been stopped early, before it was scored
    try:
        for report in training.reports(done, asked=lambda: signals.asked):
            if report.due:
                run.elapsed_s += report.seconds
                log(run, report)
            validate = training.validates(report)
            if validate:
                validation = training.score(training.validation)
                run.scalars("validation", validation, report.step)
                if validation["accuracy"] > best:
                    best, best_epoch = validation["accuracy"], report.epoch
            if report.epoch_ended:
                snapshot(run, training, report)
            late = pause is not None and monotonic() - saved_at > 60 * pause
            if saved := validate or report.epoch_ended or late:
                save(run, training, report.step, validation if validate else None)
                saved_at = monotonic()
            progress.show(line(report, training, validation, short=progress.live), keep=report.epoch_ended)
            if patience is not None and validate and report.epoch - best_epoch >= patience:
                progress.end()
                print(f"stopped early: no better validation accuracy in {patience} epochs")
                break
            if signals.asked:
                stop(run, training, report, signals.asked, saved=saved)
    finally:
        progress.end()


def validations(run: Run) -> dict[int, float]:
    """{step: the validation accuracy after it} of a run which goes on."""
    rows = read_lines(run.metrics)
    return {row["step"]: row["validation/accuracy"] for row in rows if "validation/accuracy" in row}


def best_so_far(validated: dict[int, float], epoch_steps: int) -> tuple[float, int]:
    """The best validation accuracy, and in which epoch it was; below all, where there is none."""
    scores = [(accuracy, -((step - 1) // epoch_steps)) for step, accuracy in validated.items()]
    best, epoch = max(scores, default=(-1.0, 0))
    return best, -epoch


def stop(run: Run, training: Training, report: Report, signal: int, *, saved: bool) -> None:
    """Save where the run stands, and raise Stopped with how to go on; after the last step there is nothing to stop."""
    if report.step == training.steps:
        return
    if not saved:
        save(run, training, report.step, None)
    raise Stopped(f"stopped after step {report.step:,}; `{resume_command(run.folder)}` goes on", signal)


def log(run: Run, report: Report) -> None:
    """The loop's means to TensorBoard and metrics.jsonl."""
    values = {"loss": report.loss, "accuracy": report.accuracy, "gradient_norm": report.gradient_norm}
    speed = {"learning_rate": report.lr, "pictures_per_s": report.pictures / report.seconds}
    run.scalars("train", values | speed, report.step)


def snapshot(run: Run, training: Training, report: Report) -> None:
    """Keep the first layer's filters; ten times in a run, show them and the weights' distributions."""
    epoch, epochs = report.epoch + 1, training.settings.epochs
    weights = first_weights(training.judged, training.input_shape)
    if weights is not None:
        run.keep_filters(weights, epoch)
    if epoch * SNAPSHOTS // epochs > (epoch - 1) * SNAPSHOTS // epochs:
        run.histograms(dict(training.judged.named_parameters()), report.step)
        if weights is not None:
            run.sheet("filters/first_layer", filter_sheet(weights), report.step)


def save(run: Run, training: Training, step: int, validation: dict[str, float] | None) -> None:
    """A checkpoint after `step` steps; of the earlier ones, the one before and the best are kept."""
    run.flush()
    groups, record = state(training)
    record |= {"step": step, "elapsed_s": run.elapsed_s, "began": run.began, "validation": validation}
    checkpoint.save(checkpoint.path_at(run.checkpoints, step), groups, record)
    checkpoint.prune(run.checkpoints)


def line(report: Report, training: Training, validation: dict[str, float], *, short: bool) -> str:
    """Where the run stands; `short`: for a terminal of 80 columns."""
    speed = report.pictures / report.seconds
    left = clock((training.steps - report.step) * training.train.batch_size / speed)
    words = [f"epoch {report.epoch + 1}/{training.settings.epochs}", f"step {report.step}", f"loss {report.loss:.4f}"]
    words.append(f"acc {report.accuracy:.2%}")
    if validation:
        words.append(f"{'val' if short else 'validation'} {validation['accuracy']:.2%}")
    return (" " if short else "  ").join([*words, f"{speed:,.0f} {'pic' if short else 'pictures'}/s", f"{left} left"])


def finish(run: Run, training: Training) -> float:
    """Score the result on the test set, once, and say what to type next; returns the validation accuracy."""
    path = checkpoint.find(run.checkpoints, training.settings.result)
    groups, record = checkpoint.load(path, str(training.device), ("model", "average"))
    training.judged.load_state_dict(groups.get("average") or groups["model"])
    pictures = trained_run.load_pictures(training.settings.dataset, "test").to(training.device)
    logits, labels = training.answers(pictures)
    trained_run.write_answers(run.folder / "test.safetensors", logits, labels)
    test = brief(logits, labels)
    validation = record["validation"] or training.score(training.validation)  # of a run made to end between two
    run.scalars("test", test, record["step"])
    both = {"validation": validation, "test": test}
    final = {f"final/{split}_{k}": scores[k] for split, scores in both.items() for k in ("accuracy", "loss")}
    settings = trained_run.flat(asdict(training.settings))
    run.hyperparameters({k: v for k, v in settings.items() if not k.startswith(NOT_TUNED)}, final)
    result = {"checkpoint": path.name, "step": record["step"], "seconds": run.elapsed_s, **both}
    write_json(run.folder / "result.json", result)
    run.state("finished")
    conclude(run, training, pictures, result)
    return validation["accuracy"]


def conclude(run: Run, training: Training, pictures: PictureSet, result: dict[str, Any]) -> None:
    """The last lines: scores, and what to type next."""
    low, high = wilson(round(result["test"]["accuracy"] * len(pictures)), len(pictures))
    counts = {"validation": f"{len(training.validation):,}", "test": f"{len(pictures):,}"}
    print(f"\n{'':12}{'accuracy':>10}{'loss':>10}{'pictures':>11}")
    for split, count in counts.items():
        print(f"{split:12}{result[split]['accuracy']:>10.2%}{result[split]['loss']:>10.4f}{count:>11}")
    print(f"test accuracy's 95 % interval: {low:.2%} to {high:.2%}")
    print(f"step {result['step']:,} after {clock(run.elapsed_s)} of training\n")
    folder = shlex.quote(str(run.folder))
    print(f"score it    cnnlab eval {folder}\nlook at it  tensorboard --logdir {folder}", flush=True)


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
