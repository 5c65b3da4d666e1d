"""The training loop. It computes and reports; whoever asked for it writes things down."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.core.errors import CnnlabError
from cnnlab.engine.optim import Average, Guard, Optimizer
from cnnlab.engine.schedule import Schedule


class Batches(Protocol):
    """What the loop asks of its data; it cannot tell a data set on the device from one that streams."""

    def __len__(self) -> int: ...
    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]: ...


@dataclass(frozen=True)
class Report:
    """Where the loop is: `step` steps done, in `epoch` (from 0). Means, pictures and seconds are those of the window
    since the last report that was `due`; what the caller does in between is not counted."""

    step: int
    epoch: int
    epoch_ended: bool
    due: bool  # by the step's number; otherwise it was asked for, and the window goes on
    lr: float
    loss: float
    accuracy: float
    gradient_norm: float
    pictures: int
    seconds: float


class NotFinite(CnnlabError):
    """The loss or the gradient of a step was not a finite number; that step and none after it counts."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss or its gradient is not finite at step {step + 1}")
        self.step = step


class Meter:
    """Sums on the device, read in one go: asking for a number at every step would make the host wait for it. They are
    part of what a checkpoint keeps, so that a window which was interrupted is logged as if it had not been."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Begin a new window."""
        self.sums, self.steps, self.pictures = torch.zeros(3, device=self.device), 0, 0
        self.seconds, self.since = 0.0, perf_counter()

    def start(self) -> None:
        """Let the clock go on from now."""
        self.since = perf_counter()

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, norm: Tensor) -> None:
        """Count a step. `labels`: (N,), or (N, classes) shares, of which the largest counts."""
        hits = (logits.argmax(1) == (labels if labels.ndim == 1 else labels.argmax(1))).sum()
        self.sums += torch.stack((loss.detach().float(), hits.float(), norm))
        self.steps, self.pictures = self.steps + 1, self.pictures + len(labels)

    def read(self, refused: Tensor) -> tuple[float, float, float, int, float]:
        """The window's mean loss, accuracy and gradient norm, its pictures and seconds. Raises NotFinite where the
        guard refused a step."""
        loss, hits, norm, first = torch.cat((self.sums.double(), refused.double().view(1))).tolist()
        if first >= 0:
            raise NotFinite(int(first))
        self.seconds += perf_counter() - self.since
        return loss / self.steps, hits / self.pictures, norm / self.steps, self.pictures, self.seconds


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
