"""The parts of one training step, which `fit` calls in order and StepTimer can time one by one."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnlab.core.precision import use_precision
from cnnlab.engine.ema import ModelEMA
from cnnlab.engine.loss_scale import LossScale, ScalingGuard
from cnnlab.engine.meter import Meter
from cnnlab.engine.objective import Objective
from cnnlab.engine.optim import FiniteGuard, Optimizer


@dataclass
class TrainStep:
    """A network, its optimizer and what is computed with them in each step.

    `precision`: of convolutions and matmuls; float16 needs a `loss_scale`.
    """

    model: nn.Module
    optimizer: Optimizer
    meter: Meter
    ema: ModelEMA | None
    objective: Objective
    clip_norm: float | None
    precision: str
    loss_scale: LossScale | None

    def __post_init__(self) -> None:
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        self.device = self.params[0].device
        self.guard = (
            ScalingGuard(self.optimizer, self.device, self.loss_scale)
            if self.loss_scale
            else FiniteGuard(self.optimizer, self.device)
        )
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def set_lr(self, factor: float) -> float:
        """Set every parameter group's learning rate to `factor` times its initial one; return the
        first."""
        groups = self.optimizer.param_groups
        for group in groups:
            group["lr"] = factor * group["initial_lr"]
        return groups[0]["lr"]

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's output for (N, C, H, W) images."""
        with use_precision(self.precision, self.device):
            return self.model(images)

    def compute_loss(
        self, outputs: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the sums of the metrics, as `Objective.compute_loss` does."""
        return self.objective.compute_loss(outputs, images, labels)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradient of every parameter."""
        if self.loss_scale:
            self.loss_scale.backward(loss, self.params)
        else:
            loss.backward()

    def clip_gradient(self) -> Tensor:
        """Return the norm of the whole gradient, after scaling the gradient to `clip_norm`."""
        grads = [p.grad for p in self.params if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.params, self.clip_norm, norm)
        return norm

    def update_weights(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Take the optimizer's step unless loss or gradient is not finite; free the gradient."""
        self.guard.step(step, loss, norm)
        for param in self.params:
            param.grad = None

    def accumulate(self, loss: Tensor, sums: Tensor, num_images: int, norm: Tensor) -> None:
        """Update the average of the weights and the sums that are logged."""
        if self.loss_scale:
            norm = norm.nan_to_num(0, 0)  # of a step that has overflowed
        if self.ema is not None:
            self.ema.update()
        self.meter.add(loss, sums, num_images, norm)

    def read_meter(self) -> tuple[float, dict[str, float], float, int, float]:
        """Return what `Meter.read` does. Raises NonFiniteError after a skipped step."""
        return self.meter.read(self.guard.first_skipped_step)
