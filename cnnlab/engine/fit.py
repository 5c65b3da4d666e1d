"""The training loop. It computes and reports; whoever asked for it writes things down."""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.engine.ema import Average
from cnnlab.engine.meter import Meter, Report
from cnnlab.engine.optim import Guard, Optimizer
from cnnlab.engine.schedule import Schedule


class Batches(Protocol):
    """What the loop asks of its data; it cannot tell a data set on the device from one that streams."""

    def __len__(self) -> int: ...
    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]: ...


def fit(
    model: nn.Module,
    batches: Batches,
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    steps: int,
    done: int,
    meter: Meter,
    average: Average | None,
    label_smoothing: float,
    clip_norm: float | None,
    autocast: torch.dtype | None,
    log_every: int,
    asked: Callable[[], object] = lambda: None,
    lap: Callable[[str], object] = lambda part: None,
) -> Iterator[Report]:
    """Train from step `done` to `steps`, reporting every `log_every` steps and at each epoch's end; the caller may stop
    there. `meter` holds the sums of the window that is open. `asked`, looked at after each step, says whether a report
    is wanted at once; `lap` is told which part of a step has just been done. `autocast`: the type of the forward pass's
    products, None for the weights' own. Raises NotFinite at the first report after a step whose loss or gradient is not
    finite."""
    params = [p for p in model.parameters() if p.requires_grad]
    device, base = params[0].device, optimizer.defaults["lr"]
    guard, step = Guard(optimizer, device), done
    model.train()
    meter.start()
    while step < steps:
        epoch, position = divmod(step, len(batches))
        for pictures, labels in batches.epoch(epoch, position):
            lap("data")
            lr = base * schedule(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            with torch.autocast(device.type, autocast, enabled=autocast is not None):
                logits = model(pictures)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
            lap("forward")
            loss.backward()
            lap("backward")
            norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
            if clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(params, clip_norm, norm)
            lap("bookkeeping")
            guard.step(step, loss, norm)
            optimizer.zero_grad()
            lap("step")
            if average is not None:
                average.update(model)
            meter.add(loss, logits, labels, norm)
            lap("bookkeeping")
            step += 1
            ended = step % len(batches) == 0 or step == steps
            due = ended or step % log_every == 0
            if due or asked():
                report = Report(step, epoch, ended, due, lr, *meter.read(guard.refused))
                lap("waiting")
                if due:
                    meter.reset()
                yield report
                lap("logging")
                meter.start()
            if step == steps:
                return
