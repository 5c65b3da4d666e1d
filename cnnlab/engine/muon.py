"""Muon, momentum whose updates are orthogonalized (Jordan et al. 2024), with SGD beside it."""

from typing import Any

import torch
from torch import Tensor

# Coefficients of an odd polynomial that moves every singular value toward 1 (Jordan et al. 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
Update = tuple[Tensor, Tensor]  # new weights and new momentum


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """Return about U V^T of a (rows, columns) matrix U S V^T, by Newton-Schulz steps.

    After 5 steps the singular values are between about 0.7 and 1.2, unless they were tiny.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = len(matrix) > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon for parameter groups with `is_muon`, SGD with Nesterov momentum for the others.

    Every group has `lr`, `momentum` and `weight_decay`; a Muon group also `newton_schulz_steps`
    and `normalize`. No weight and no momentum changes in a step where `found_inf` is 1, as in
    torch's fused optimizers.
    """

    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take a step with the parameters' gradients."""
        for group in self.param_groups:
            update = update_by_muon if group["is_muon"] else update_by_sgd
            for param in (p for p in group["params"] if p.grad is not None):
                state = self.state[param]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(param)
                self.store(param, *update(param, param.grad, state["momentum_buffer"], group))

    def store(self, param: Tensor, weights: Tensor, momentum: Tensor) -> None:
        """Store a parameter's new weights and momentum, unless `found_inf` is 1."""
        for target, value in ((param, weights), (self.state[param]["momentum_buffer"], momentum)):
            kept = self.found_inf
            target.copy_(value if kept is None else torch.where(kept.bool(), target, value))


def update_by_muon(param: Tensor, grad: Tensor, momentum: Tensor, group: dict[str, Any]) -> Update:
    """Return the new weights and momentum of filters, (out, in, height, width) or (out, in).

    The orthogonalized update is sqrt(max(1, out / fan_in)) times U V^T; weight decay is decoupled.
    With `normalize`, the filters' norm is first set to sqrt(out) (Jordan's airbench94_muon).
    """
    momentum = momentum * group["momentum"] + grad
    nesterov = grad.add(momentum, alpha=group["momentum"]).flatten(1)
    update = orthogonalize(nesterov, group["newton_schulz_steps"])
    scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
    weights = param * (1 - group["lr"] * group["weight_decay"])
    if group["normalize"]:
        weights = weights * (len(param) ** 0.5 / weights.norm())
    return weights.add(update.view(param.shape), alpha=-group["lr"] * scale), momentum


def update_by_sgd(param: Tensor, grad: Tensor, momentum: Tensor, group: dict[str, Any]) -> Update:
    """Return the new weights and momentum of any parameter; L2 weight decay through the gradient
    (torch's SGD with Nesterov momentum)."""
    grad = grad.add(param, alpha=group["weight_decay"])
    momentum = momentum * group["momentum"] + grad
    nesterov = grad.add(momentum, alpha=group["momentum"])
    return param.add(nesterov, alpha=-group["lr"]), momentum
