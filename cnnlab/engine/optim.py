"""Optimizers by name, the average of the weights, and the guard that keeps a bad step from being taken."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

Params = Iterable[nn.Parameter]


Optimizer = torch.optim.Optimizer


def make_decay_groups(params: Params, weight_decay: float) -> list[dict[str, object]]:
    """Two groups: weights, which decay, and what has one dimension (biases, scales), which does not."""
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay must be at least 0, not {weight_decay}")
    every = list(params)
    matrices, vectors = [p for p in every if p.ndim > 1], [p for p in every if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def check_learning_rate(lr: float) -> float:
    """A learning rate that can be one. Raises ValueError otherwise."""
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be above 0, not {lr}")
    return lr


def sgd(
    params: Params, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> Optimizer:
    """Stochastic gradient descent with momentum; L2 decay of the weights."""
    groups = make_decay_groups(params, weight_decay)
    return torch.optim.SGD(
        groups, lr=check_learning_rate(lr), momentum=momentum, nesterov=nesterov, fused=True
    )


def adam(
    params: Params, *, lr: float, betas: list[float], eps: float, weight_decay: float
) -> Optimizer:
    """Adam (Kingma & Ba 2015); L2 decay of the weights, through the gradient."""
    groups = make_decay_groups(params, weight_decay)
    return torch.optim.Adam(
        groups, lr=check_learning_rate(lr), betas=check_betas(betas), eps=eps, fused=True
    )


def adamw(
    params: Params, *, lr: float, betas: list[float], eps: float, weight_decay: float
) -> Optimizer:
    """Adam with decoupled decay of the weights (Loshchilov & Hutter 2019)."""
    groups = make_decay_groups(params, weight_decay)
    return torch.optim.AdamW(
        groups, lr=check_learning_rate(lr), betas=check_betas(betas), eps=eps, fused=True
    )


def check_betas(betas: list[float]) -> tuple[float, float]:
    """Adam's two decay rates. Raises ValueError where there are not two."""
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, not {betas}")
    return betas[0], betas[1]


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": adam, "adamw": adamw, "sgd": sgd}


def flatten_optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, as `<parameter's number>/<name>` -> tensor. Its settings are the config's."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}/{k}": torch.as_tensor(v)
        for i, kept in state.items()
        for k, v in kept.items()
        if v is not None
    }


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo `state_tensors` on an optimizer built anew for the same network. Raises ValueError for what does not fit."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, _, name = path.partition("/")
        param = params[int(number)]
        # The fused kernels walk weights and moments side by side: both must lie in memory alike.
        laid = torch.empty_like(param).copy_(tensor) if tensor.shape == param.shape else tensor
        if tensor.ndim and tensor.shape != param.shape:
            raise ValueError(
                f"optimizer/{path} is of {tuple(tensor.shape)}, its weights of {tuple(param.shape)}"
            )
        state.setdefault(int(number), {})[name] = laid
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


class FiniteGuard:
    """Takes a step only where loss and gradient are finite, and never asks the device to wait for the answer.

    torch's fused optimizers read `found_inf` on the device and leave everything as it was where it is 1. The
    first step that was refused is kept there too, for the host to read when it reads the rest.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer, self.first_skipped_step = (
            optimizer,
            torch.full((), -1, dtype=torch.int64, device=device),
        )

    def step(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Take the optimizer's step number `step`, unless `loss` or the gradient's `norm` is not finite."""
        bad = ~torch.isfinite(loss + norm)
        self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.first_skipped_step = torch.where(
            (self.first_skipped_step < 0) & bad, step, self.first_skipped_step
        )
