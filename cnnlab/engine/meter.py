"""What a training step reports: loss, accuracy and gradient norm, summed on the device."""

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError


@dataclass(frozen=True)
class StepReport:
    """Where the loop is: `step` steps done, in `epoch` (from 0). Means, pictures and seconds are those of the window
    since the last report that was `due`; what the caller does in between is not counted."""

    step: int
    epoch: int
    is_epoch_end: bool
    is_scheduled: bool  # by the step's number; otherwise it was asked for, and the window goes on
    lr: float
    loss: float
    accuracy: float
    gradient_norm: float
    num_images: int
    seconds: float


class NonFiniteError(CnnlabError):
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
        self.sums, self.steps, self.num_images = torch.zeros(3, device=self.device), 0, 0
        self.seconds, self.resumed_at = 0.0, perf_counter()

    def start(self) -> None:
        """Let the clock go on from now."""
        self.resumed_at = perf_counter()

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, norm: Tensor) -> None:
        """Count a step. `labels`: (N,), or (N, classes) shares, of which the largest counts."""
        hits = (logits.argmax(1) == (labels if labels.ndim == 1 else labels.argmax(1))).sum()
        self.sums += torch.stack((loss.detach().float(), hits.float(), norm))
        self.steps, self.num_images = self.steps + 1, self.num_images + len(labels)

    def read(self, refused: Tensor) -> tuple[float, float, float, int, float]:
        """The window's mean loss, accuracy and gradient norm, its pictures and seconds. Raises NotFinite where the
        guard refused a step."""
        loss, hits, norm, first = torch.cat((self.sums.double(), refused.double().view(1))).tolist()
        if first >= 0:
            raise NonFiniteError(int(first))
        self.seconds += perf_counter() - self.resumed_at
        return (
            loss / self.steps,
            hits / self.num_images,
            norm / self.steps,
            self.num_images,
            self.seconds,
        )
