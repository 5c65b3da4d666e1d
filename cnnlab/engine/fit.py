"""The training loop. It computes and reports; whoever asked for it writes things down."""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.engine.ema import ModelEMA
from cnnlab.engine.meter import Meter, StepReport
from cnnlab.engine.optim import FiniteGuard, Optimizer
from cnnlab.engine.schedule import Schedule


class BatchSource(Protocol):
    """What the loop asks of its data; it cannot tell a data set on the device from one that streams."""

    def __len__(self) -> int: ...
    def iterate_epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]: ...


def fit(
    model: nn.Module,
    batches: BatchSource,
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    steps: int,
    start_step: int,
    meter: Meter,
    ema: ModelEMA | None,
    label_smoothing: float,
    clip_norm: float | None,
    autocast: torch.dtype | None,
    log_every: int,
    wants_report: Callable[[], object] = lambda: None,
    on_phase_end: Callable[[str], object] = lambda part: None,
) -> Iterator[StepReport]:
    """Train from step `done` to `steps`, reporting every `log_every` steps and at each epoch's end; the caller may stop
    there. `meter` holds the sums of the window that is open. `asked`, looked at after each step, says whether a report
    is wanted at once; `lap` is told which part of a step has just been done. `autocast`: the type of the forward pass's
    products, None for the weights' own. Raises NotFinite at the first report after a step whose loss or gradient is not
    finite."""
    params = [p for p in model.parameters() if p.requires_grad]
    device, base = params[0].device, optimizer.defaults["lr"]
    guard, step = FiniteGuard(optimizer, device), start_step
    model.train()
    meter.start()
    while step < steps:
        epoch, position = divmod(step, len(batches))
        for pictures, labels in batches.iterate_epoch(epoch, position):
            on_phase_end("data")
            lr = base * schedule(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            with torch.autocast(device.type, autocast, enabled=autocast is not None):
                logits = model(pictures)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
            on_phase_end("forward")
            loss.backward()
            on_phase_end("backward")
            norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
            if clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(params, clip_norm, norm)
            on_phase_end("bookkeeping")
            guard.step(step, loss, norm)
            optimizer.zero_grad()
            on_phase_end("step")
            if ema is not None:
                ema.update(model)
            meter.add(loss, logits, labels, norm)
            on_phase_end("bookkeeping")
            step += 1
            ended = step % len(batches) == 0 or step == steps
            due = ended or step % log_every == 0
            if due or wants_report():
                report = StepReport(
                    step, epoch, ended, due, lr, *meter.read(guard.first_skipped_step)
                )
                on_phase_end("waiting")
                if due:
                    meter.reset()
                yield report
                on_phase_end("logging")
                meter.start()
            if step == steps:
                return
