"""The epochs of a training run: log, validate, save checkpoints, stop on a signal."""

from pathlib import Path
from time import monotonic

from cnnlab.core import checkpoint
from cnnlab.core.errors import Stopped
from cnnlab.core.progress import Progress, clock
from cnnlab.core.quoting import typed
from cnnlab.core.run import Run, read_lines
from cnnlab.core.signals import Signals
from cnnlab.engine.meter import Report
from cnnlab.tasks.train.trainer import Training, state
from cnnlab.viz.weight_images import filter_sheet, first_weights

SNAPSHOTS = 10  # times in a run that pictures of filters and histograms of weights go to TensorBoard


def resume_command(folder: Path) -> str:
    return f"cnnlab train {typed('resume', str(folder))}"


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
