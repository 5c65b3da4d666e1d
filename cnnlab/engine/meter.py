"""Loss, accuracy and gradient norm of training steps, summed on the device."""

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError


@dataclass(frozen=True)
class StepReport:
    """The state of the loop after `step` steps, in `epoch` (from 0).

    Means, images and seconds cover the log window since the last scheduled report, without the
    time that the caller took.
    """

    step: int
    epoch: int
    is_epoch_end: bool
    is_scheduled: bool  # by step number; a requested report does not end the log window
    lr: float
    loss: float
    accuracy: float
    gradient_norm: float
    num_images: int
    seconds: float


class NonFiniteError(CnnlabError):
    """The loss or the gradient of a step was not finite; `step` counts from 0."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss or its gradient is not finite at step {step + 1}")
        self.step = step


class Meter:
    """Sums over a log window, kept on the device and read at once.

    Reading a number at every step would make the host wait for the device. Checkpoints hold the
    sums, so that an interrupted window is logged as if it had not been interrupted.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Start a new window."""
        self.sums, self.steps, self.num_images = torch.zeros(3, device=self.device), 0, 0
        self.seconds, self.resumed_at = 0.0, perf_counter()

    def start(self) -> None:
        """Restart the clock after a pause that is not counted."""
        self.resumed_at = perf_counter()

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, norm: Tensor) -> None:
        """Add a step. `labels`: (N,) classes or (N, K) shares, of which the largest counts."""
        hits = (logits.argmax(1) == (labels if labels.ndim == 1 else labels.argmax(1))).sum()
        self.sums += torch.stack((loss.detach().float(), hits.float(), norm))
        self.steps, self.num_images = self.steps + 1, self.num_images + len(labels)

    def read(self, first_skipped_step: Tensor) -> tuple[float, float, float, int, float]:
        """Return the window's mean loss, accuracy and gradient norm, its images and seconds.

        Raises NonFiniteError if a step was skipped: `first_skipped_step` is not -1.
        """
        sums = torch.cat((self.sums.double(), first_skipped_step.double().view(1)))
        loss, hits, norm, skipped_step = sums.tolist()
        if skipped_step >= 0:
            raise NonFiniteError(int(skipped_step))
        self.seconds += perf_counter() - self.resumed_at
        return (
            loss / self.steps,
            hits / self.num_images,
            norm / self.steps,
            self.num_images,
            self.seconds,
        )
