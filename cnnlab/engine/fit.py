"""The training loop. It computes and yields reports; the caller writes them."""

from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor

from cnnlab.engine.meter import StepReport
from cnnlab.engine.schedule import Schedule
from cnnlab.engine.train_step import TrainStep


class BatchSource(Protocol):
    """Batches by epoch, from a data set on the device or from one that streams."""

    def __len__(self) -> int: ...
    def iterate_epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]: ...


def fit(
    train_step: TrainStep,
    batches: BatchSource,
    schedule: Schedule,
    *,
    steps: int,
    start_step: int,
    log_every: int,
    wants_report: Callable[[], object] = lambda: None,
) -> Iterator[StepReport]:
    """Train from `start_step` to `steps`; yield a report every `log_every` steps and each epoch.

    The caller may stop at any report. `wants_report` is called after each step; when it returns
    true, the step is reported at once. Raises NonFiniteError at the first report after a step
    whose loss or gradient is not finite.
    """
    step = start_step
    train_step.model.train()
    train_step.meter.start()
    while step < steps:
        epoch, position = divmod(step, len(batches))
        for images, labels in batches.iterate_epoch(epoch, position):
            lr = train_step.set_lr(schedule(step))
            outputs = train_step.forward(images)
            loss, metric_sums = train_step.compute_loss(outputs, images, labels)
            train_step.backward(loss)
            norm = train_step.clip_gradient()
            train_step.update_weights(step, loss, norm)
            train_step.accumulate(loss, metric_sums, len(labels), norm)
            step += 1
            is_epoch_end = step % len(batches) == 0 or step == steps
            is_scheduled = is_epoch_end or step % log_every == 0
            if is_scheduled or wants_report():
                means = train_step.read_meter()
                if is_scheduled:
                    train_step.meter.reset()
                yield StepReport(step, epoch, is_epoch_end, is_scheduled, lr, *means)
                train_step.meter.start()
            if step == steps:
                return
