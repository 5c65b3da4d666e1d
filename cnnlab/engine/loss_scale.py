"""The scale of the loss in float16, so that its gradients do not underflow."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cnnlab.engine.optim import FiniteGuard, Optimizer

INITIAL_SCALE, MIN_SCALE = 2.0**16, 1.0
GROWTH_STEPS = 2000  # without overflow, after which the scale is doubled


class LossScale:
    """A factor of the loss, on the device (Micikevicius et al. 2018, section 3.2).

    torch's GradScaler is not used: it has no smallest scale, and below it a training that diverges
    would go on for ever. Initial scale and growth are those of GradScaler.
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), INITIAL_SCALE, device=device)
        self.num_finite_steps = torch.zeros((), dtype=torch.int32, device=device)

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors to save and to restore in place."""
        return {"scale": self.scale, "num_finite_steps": self.num_finite_steps}

    def backward(self, loss: Tensor, params: Iterable[nn.Parameter]) -> None:
        """Compute the gradient of every parameter through the scaled loss."""
        (loss * self.scale).backward()
        grads = [p.grad for p in params if p.grad is not None]
        torch._foreach_mul_(grads, self.scale.reciprocal())  # exact: the scale is a power of two

    def update(self, has_overflowed: Tensor) -> None:
        """Halve the scale where the step has overflowed (1, else 0); double it after many steps
        that have not."""
        torch._amp_update_scale_(
            self.scale, self.num_finite_steps, has_overflowed, 2.0, 0.5, GROWTH_STEPS
        )


class ScalingGuard(FiniteGuard):
    """A FiniteGuard that skips a step whose gradient overflows, halves the scale and continues.

    It stops, as FiniteGuard does, where the loss is not finite or the smallest scale overflows.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device, loss_scale: LossScale) -> None:
        super().__init__(optimizer, device)
        self.loss_scale, self.has_stopped = loss_scale, torch.zeros((), device=device)

    def check(self, loss: Tensor, norm: Tensor) -> None:
        """Skip the step if the gradient has overflowed; stop if scaling cannot help."""
        has_overflowed = (0 * norm).nan_to_num(nan=1)
        is_smallest = self.loss_scale.scale <= MIN_SCALE
        self.has_stopped.add_(loss, alpha=0).nan_to_num_(nan=1)
        self.has_stopped.copy_(self.has_stopped.maximum(has_overflowed * is_smallest))
        self.found_inf.copy_(self.has_stopped.maximum(has_overflowed))
        self.num_skipped += self.has_stopped
        self.loss_scale.update(has_overflowed)
