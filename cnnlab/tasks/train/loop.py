"""The epochs of a training run: log, validate, save checkpoints, stop on a signal."""

from pathlib import Path
from time import monotonic

from cnnlab.core import checkpoint
from cnnlab.core.errors import Stopped
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.quoting import as_override
from cnnlab.core.run import Run, read_metrics
from cnnlab.core.signals import SignalRecorder
from cnnlab.engine.meter import StepReport
from cnnlab.tasks.train.trainer import Trainer, capture_training_state
from cnnlab.viz.weight_images import get_first_layer_weights, make_filter_sheet

NUM_SNAPSHOTS = (
    10  # times in a run that pictures of filters and histograms of weights go to TensorBoard
)


def format_resume_command(folder: Path) -> str:
    return f"cnnlab train {as_override('resume', str(folder))}"


def run_epochs(run: Run, training: Trainer, done: int, signals: SignalRecorder) -> None:
    """Go through the loop's reports; at each epoch's end validate, show and save."""
    progress, validation = Progress(), dict[str, float]()
    validated = read_validation_accuracies(run)
    best, best_epoch = find_best_validation(validated, len(training.train_batches))
    patience, pause, saved_at = (
        training.settings.early_stop_epochs,
        training.settings.save_every_minutes,
        monotonic(),
    )
    if (
        patience is not None
        and done in validated
        and (done - 1) // len(training.train_batches) - best_epoch >= patience
    ):
        return  # it had been stopped early, before it was scored
    try:
        for report in training.fit(done, wants_report=lambda: signals.received):
            if report.is_scheduled:
                run.elapsed_s += report.seconds
                log_step_report(run, report)
            validate = training.should_validate(report)
            if validate:
                validation = training.evaluate(training.validation_set)
                run.log_scalars("validation", validation, report.step)
                if validation["accuracy"] > best:
                    best, best_epoch = validation["accuracy"], report.epoch
            if report.is_epoch_end:
                log_snapshot(run, training, report)
            late = pause is not None and monotonic() - saved_at > 60 * pause
            if saved := validate or report.is_epoch_end or late:
                save_training_checkpoint(
                    run, training, report.step, validation if validate else None
                )
                saved_at = monotonic()
            progress.show(
                format_train_progress(report, training, validation, short=progress.is_live),
                keep=report.is_epoch_end,
            )
            if patience is not None and validate and report.epoch - best_epoch >= patience:
                progress.end()
                print(f"stopped early: no better validation accuracy in {patience} epochs")
                break
            if signals.received:
                save_and_stop(run, training, report, signals.received, is_saved=saved)
    finally:
        progress.end()


def read_validation_accuracies(run: Run) -> dict[int, float]:
    """{step: the validation accuracy after it} of a run which goes on."""
    rows = read_metrics(run.metrics)
    return {row["step"]: row["validation/accuracy"] for row in rows if "validation/accuracy" in row}


def find_best_validation(validated: dict[int, float], epoch_steps: int) -> tuple[float, int]:
    """The best validation accuracy, and in which epoch it was; below all, where there is none."""
    scores = [(accuracy, -((step - 1) // epoch_steps)) for step, accuracy in validated.items()]
    best, epoch = max(scores, default=(-1.0, 0))
    return best, -epoch


def save_and_stop(
    run: Run, training: Trainer, report: StepReport, signal: int, *, is_saved: bool
) -> None:
    """Save where the run stands, and raise Stopped with how to go on; after the last step there is nothing to stop."""
    if report.step == training.total_steps:
        return
    if not is_saved:
        save_training_checkpoint(run, training, report.step, None)
    raise Stopped(
        f"stopped after step {report.step:,}; `{format_resume_command(run.folder)}` goes on", signal
    )


def log_step_report(run: Run, report: StepReport) -> None:
    """The loop's means to TensorBoard and metrics.jsonl."""
    values = {
        "loss": report.loss,
        "accuracy": report.accuracy,
        "gradient_norm": report.gradient_norm,
    }
    speed = {"learning_rate": report.lr, "pictures_per_s": report.num_images / report.seconds}
    run.log_scalars("train", values | speed, report.step)


def log_snapshot(run: Run, training: Trainer, report: StepReport) -> None:
    """Keep the first layer's filters; ten times in a run, show them and the weights' distributions."""
    epoch, epochs = report.epoch + 1, training.settings.epochs
    weights = get_first_layer_weights(training.eval_model, training.input_shape)
    if weights is not None:
        run.save_filters(weights, epoch)
    if epoch * NUM_SNAPSHOTS // epochs > (epoch - 1) * NUM_SNAPSHOTS // epochs:
        run.log_histograms(dict(training.eval_model.named_parameters()), report.step)
        if weights is not None:
            run.log_image("filters/first_layer", make_filter_sheet(weights), report.step)


def save_training_checkpoint(
    run: Run, training: Trainer, step: int, validation: dict[str, float] | None
) -> None:
    """A checkpoint after `step` steps; of the earlier ones, the one before and the best are kept."""
    run.flush()
    groups, record = capture_training_state(training)
    record |= {
        "step": step,
        "elapsed_s": run.elapsed_s,
        "began": run.began,
        "validation": validation,
    }
    checkpoint.save_checkpoint(checkpoint.checkpoint_path(run.checkpoints, step), groups, record)
    checkpoint.prune_checkpoints(run.checkpoints)


def format_train_progress(
    report: StepReport, training: Trainer, validation: dict[str, float], *, short: bool
) -> str:
    """Where the run stands; `short`: for a terminal of 80 columns."""
    speed = report.num_images / report.seconds
    left = format_duration(
        (training.total_steps - report.step) * training.train_batches.batch_size / speed
    )
    words = [
        f"epoch {report.epoch + 1}/{training.settings.epochs}",
        f"step {report.step}",
        f"loss {report.loss:.4f}",
    ]
    words.append(f"acc {report.accuracy:.2%}")
    if validation:
        words.append(f"{'val' if short else 'validation'} {validation['accuracy']:.2%}")
    return (" " if short else "  ").join(
        [*words, f"{speed:,.0f} {'pic' if short else 'pictures'}/s", f"{left} left"]
    )
