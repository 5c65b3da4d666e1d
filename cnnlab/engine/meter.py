"""Loss, metrics and gradient norm of training steps, summed on the device."""

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
    metrics: dict[str, float]
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

    def __init__(self, device: torch.device, metrics: tuple[str, ...]) -> None:
        """`metrics`: the names of those that an `Objective` measures."""
        self.device, self.metrics = device, metrics
        self.reset()

    def reset(self) -> None:
        """Start a new window."""
        self.sums = torch.zeros(2 + len(self.metrics), device=self.device)
        self.steps, self.num_images = 0, 0
        self.seconds, self.resumed_at = 0.0, perf_counter()

    def start(self) -> None:
        """Restart the clock after a pause that is not counted."""
        self.resumed_at = perf_counter()

    @torch.no_grad()
    def add(self, loss: Tensor, metric_sums: Tensor, num_images: int, norm: Tensor) -> None:
        """Add a step of `num_images`, over which the metrics are summed."""
        self.sums += torch.cat((loss.detach().float().view(1), metric_sums, norm.view(1)))
        self.steps, self.num_images = self.steps + 1, self.num_images + num_images

    def read(self, first_skipped_step: Tensor) -> tuple[float, dict[str, float], float, int, float]:
        """Return the window's mean loss, metrics and gradient norm, its images and seconds.

        Raises NonFiniteError if a step was skipped: `first_skipped_step` is not -1.
        """
        sums = torch.cat((self.sums.double(), first_skipped_step.double().view(1)))
        loss, *metric_sums, norm, skipped_step = sums.tolist()
        if skipped_step >= 0:
            raise NonFiniteError(int(skipped_step))
        self.seconds += perf_counter() - self.resumed_at
        return (
            loss / self.steps,
            {
                name: total / self.num_images
                for name, total in zip(self.metrics, metric_sums, strict=True)
            },
            norm / self.steps,
            self.num_images,
            self.seconds,
        )
