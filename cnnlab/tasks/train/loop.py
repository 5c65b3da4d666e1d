"""The epochs of a training run: log, validate, save checkpoints, stop on a signal."""

import math
from dataclasses import dataclass
from time import monotonic

from cnnlab.core import checkpoint
from cnnlab.core.display_text import count_noun
from cnnlab.core.errors import Stopped
from cnnlab.core.hooks import get_first_layer_weights
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.run import Run, read_metrics
from cnnlab.core.schema import is_of_type
from cnnlab.core.signals import SignalRecorder
from cnnlab.engine.meter import StepReport
from cnnlab.models import is_classifier
from cnnlab.tasks.train.next_commands import format_resume_command
from cnnlab.tasks.train.style_network import NUM_PREVIEW_IMAGES, draw_preview
from cnnlab.tasks.train.trainer import Trainer, capture_training_state
from cnnlab.viz.weight_images import make_filter_sheet

NUM_SNAPSHOTS = 10  # times in a run that filters and histograms of weights go to TensorBoard


@dataclass
class EarlyStopping:
    """The best validation accuracy so far, and the epoch (from 0) in which it was reached."""

    patience: float  # epochs without improvement after which the run stops; infinite: never
    accuracy: float = -1.0
    epoch: int = 0

    def update(self, accuracy: float, epoch: int) -> None:
        """Take the accuracy of a validation in `epoch` into account."""
        if accuracy > self.accuracy:
            self.accuracy, self.epoch = accuracy, epoch

    def should_stop(self, epoch: int) -> bool:
        """Return whether to stop after a validation in `epoch`."""
        return epoch - self.epoch >= self.patience


def run_epochs(run: Run, trainer: Trainer, start_step: int, signals: SignalRecorder) -> None:
    """Train from `start_step` on; at each epoch's end validate, log and save.

    Raises Stopped after a signal, once a checkpoint is saved.
    """
    progress, validation = Progress(), dict[str, float]()
    early_stopping = EarlyStopping(trainer.settings.early_stop_epochs or math.inf)
    if replay_validations(run, trainer, early_stopping, start_step):
        return  # stopped early before, but not evaluated yet
    saved_at = monotonic()
    try:
        for report in trainer.fit(start_step, wants_report=lambda: signals.received):
            if report.is_scheduled:
                run.elapsed_s += report.seconds
                log_step_report(run, report)
            is_validated = trainer.should_validate(report)
            if is_validated:
                validation = trainer.evaluate(trainer.validation_set)
                run.log_scalars("validation", validation, report.step)
                log_preview(run, trainer, report.step)
                early_stopping.update(validation.get("accuracy", 0.0), report.epoch)
            if report.is_epoch_end:
                log_snapshot(run, trainer, report)
            is_saved = is_validated or report.is_epoch_end or is_save_due(trainer, saved_at)
            if is_saved:
                scores = validation if is_validated else None
                save_training_checkpoint(run, trainer, report.step, scores)
                saved_at = monotonic()
            line = format_train_progress(report, trainer, validation)
            progress.show(line, keep=report.is_epoch_end)
            if is_validated and early_stopping.should_stop(report.epoch):
                progress.end()
                patience = count_noun(early_stopping.patience, "epoch")
                print(f"stopped early: no better validation accuracy in {patience}")
                break
            if signals.received:
                save_and_stop(run, trainer, report, signals.received, is_saved=is_saved)
    finally:
        progress.end()


def replay_validations(
    run: Run, trainer: Trainer, early_stopping: EarlyStopping, start_step: int
) -> bool:
    """Update `early_stopping` with the validations logged before `start_step`.

    Returns whether the run had stopped early there.
    """
    accuracies, epoch_steps = read_validation_accuracies(run), len(trainer.train_batches)
    for step, accuracy in sorted(accuracies.items()):
        early_stopping.update(accuracy, (step - 1) // epoch_steps)
    return start_step in accuracies and early_stopping.should_stop((start_step - 1) // epoch_steps)


def read_validation_accuracies(run: Run) -> dict[int, float]:
    """Return {step: validation accuracy} of a run, from its metrics."""
    rows = read_metrics(run.metrics)
    return {
        row["step"]: row["validation/accuracy"]
        for row in rows
        if is_of_type(row.get("validation/accuracy"), float)
    }


def is_save_due(trainer: Trainer, saved_at: float) -> bool:
    """Return whether `save_every_minutes` have passed since a time on the monotonic clock."""
    minutes = trainer.settings.save_every_minutes
    return minutes is not None and monotonic() - saved_at > 60 * minutes


def save_and_stop(
    run: Run, trainer: Trainer, report: StepReport, signal: int, *, is_saved: bool
) -> None:
    """Save a checkpoint and raise Stopped with the command that resumes.

    After the last step there is nothing to stop.
    """
    if report.step == trainer.total_steps:
        return
    if not is_saved:
        save_training_checkpoint(run, trainer, report.step, None)
    command = format_resume_command(run.folder)
    raise Stopped(f"stopped after step {report.step:,};\nresume with `{command}`", signal)


def log_step_report(run: Run, report: StepReport) -> None:
    """Write the means of a log window to TensorBoard and metrics.jsonl."""
    values = {
        "loss": report.loss,
        **report.metrics,
        "gradient_norm": report.gradient_norm,
        "learning_rate": report.lr,
        "images_per_s": report.num_images / report.seconds,
    }
    run.log_scalars("train", values, report.step)


def log_snapshot(run: Run, trainer: Trainer, report: StepReport) -> None:
    """Save the first layer's filters; NUM_SNAPSHOTS times in a run log them and the weights."""
    epoch, epochs = report.epoch + 1, trainer.settings.epochs
    weights = get_first_layer_weights(trainer.eval_model, trainer.input_shape)
    if weights is not None:
        run.save_filters(weights, epoch)
    if epoch * NUM_SNAPSHOTS // epochs > (epoch - 1) * NUM_SNAPSHOTS // epochs:
        run.log_histograms(dict(trainer.eval_model.named_parameters()), report.step)
        if weights is not None:
            run.log_image("filters/first_layer", make_filter_sheet(weights), report.step)


def log_preview(run: Run, trainer: Trainer, step: int) -> None:
    """Log some validation images as a style network stylizes them."""
    if not is_classifier(trainer.settings.model):
        images, _ = next(trainer.iterate_in_order(trainer.validation_set))
        sheet = draw_preview(trainer.eval_model, images[:NUM_PREVIEW_IMAGES])
        run.log_image("images/stylized", sheet, step)


def save_training_checkpoint(
    run: Run, trainer: Trainer, step: int, validation: dict[str, float] | None
) -> None:
    """Save a checkpoint after `step` steps; of earlier ones keep the newest and the best."""
    run.flush()
    groups, record = capture_training_state(trainer)
    record |= {
        "step": step,
        "elapsed_s": run.elapsed_s,
        "began": run.began,
        "validation": validation,
    }
    checkpoint.save_checkpoint(checkpoint.checkpoint_path(run.checkpoints, step), groups, record)
    checkpoint.prune_checkpoints(run.checkpoints)


def format_train_progress(
    report: StepReport, trainer: Trainer, validation: dict[str, float]
) -> str:
    """Return the progress line, for 80 columns: without the step where that does not fit."""
    images_per_s = report.num_images / report.seconds
    images_left = (trainer.total_steps - report.step) * trainer.train_batches.batch_size
    fields = [
        f"epoch {report.epoch + 1}/{trainer.settings.epochs}",
        f"step {report.step}",
        f"loss {report.loss:.4f}",
        trainer.objective.format_metrics(report.metrics),
    ]
    if validation:
        fields.append(trainer.objective.format_scores(validation))
    decimals = 1 if images_per_s < 10 else 0
    fields.append(f"{images_per_s:,.{decimals}f} img/s")
    fields.append(f"{format_duration(images_left / images_per_s)} left")
    line = " ".join(fields)
    return line if len(line) < 80 else line.replace(f"step {report.step} ", "")
