"""Optimizers by name, their state in checkpoints, and a guard against non-finite steps."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from cnnlab.engine.muon import Muon

Params = Iterable[nn.Parameter]
Optimizer = torch.optim.Optimizer


def make_decay_groups(params: Params, weight_decay: float) -> list[dict[str, object]]:
    """Return parameter groups: weights with decay, biases and scales (1-D) without; one group, in
    the same order, where nothing decays.

    Raises ValueError if `weight_decay` is negative or infinite.
    """
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay must be at least 0, not {weight_decay}")
    params = list(params)
    matrices, vectors = [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]
    if weight_decay == 0:  # a group costs a call of the fused kernel
        return [{"params": matrices + vectors, "weight_decay": 0.0}]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def check_learning_rate(lr: float) -> float:
    """Return `lr`. Raises ValueError unless it is positive and finite."""
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be above 0, not {lr}")
    return lr


def sgd(
    params: Params, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> Optimizer:
    """SGD with momentum; L2 weight decay."""
    groups = make_decay_groups(params, weight_decay)
    return torch.optim.SGD(
        groups, lr=check_learning_rate(lr), momentum=momentum, nesterov=nesterov, fused=True
    )


def adam(
    params: Params, *, lr: float, betas: list[float], eps: float, weight_decay: float
) -> Optimizer:
    """Adam (Kingma & Ba 2015); L2 weight decay through the gradient."""
    groups = make_decay_groups(params, weight_decay)
    return torch.optim.Adam(
        groups, lr=check_learning_rate(lr), betas=check_betas(betas), eps=eps, fused=True
    )


def adamw(
    params: Params, *, lr: float, betas: list[float], eps: float, weight_decay: float
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    groups = make_decay_groups(params, weight_decay)
    return torch.optim.AdamW(
        groups, lr=check_learning_rate(lr), betas=check_betas(betas), eps=eps, fused=True
    )


def muon(
    params: Params,
    *,
    lr: float,
    momentum: float,
    newton_schulz_steps: int,
    normalize: bool,
    weight_decay: float,
    linear_lr: float,
    bias_lr: float,
    sgd_momentum: float,
    sgd_weight_decay: float,
) -> Optimizer:
    """Muon (Jordan et al. 2024) for the filters of convolutions; SGD with Nesterov momentum, with
    rates of their own, for fully connected layers and for biases and scales."""
    if newton_schulz_steps < 1:
        raise ValueError(f"newton_schulz_steps must be at least 1, not {newton_schulz_steps}")
    params = [p for p in params if p.requires_grad]
    sgd_keys = {"is_muon": False, "momentum": sgd_momentum, "weight_decay": sgd_weight_decay}
    muon_keys = {
        "is_muon": True,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "newton_schulz_steps": newton_schulz_steps,
        "normalize": normalize,
    }
    groups: list[dict[str, object]] = [
        {"params": [p for p in params if p.ndim == 4], "lr": lr, **muon_keys},
        {"params": [p for p in params if p.ndim in (2, 3)], "lr": linear_lr, **sgd_keys},
        {"params": [p for p in params if p.ndim == 1], "lr": bias_lr, **sgd_keys},
    ]
    for rate in (lr, linear_lr, bias_lr):
        check_learning_rate(rate)
    return Muon([group for group in groups if group["params"]], {})


def check_betas(betas: list[float]) -> tuple[float, float]:
    """Return Adam's two decay rates as a pair. Raises ValueError for another number of them."""
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, not {betas}")
    return betas[0], betas[1]


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": adam,
    "adamw": adamw,
    "muon": muon,
    "sgd": sgd,
}


def flatten_optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as {"<parameter index>/<name>": tensor}, without its settings."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}/{k}": torch.as_tensor(v)
        for i, tensors in state.items()
        for k, v in tensors.items()
        if v is not None
    }


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load what `flatten_optimizer_state` returned into a new optimizer of the same network.

    Raises ValueError if a shape does not match.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, _, name = path.partition("/")
        param = params[int(number)]
        # The fused kernels need weights and moments in the same memory format.
        laid_out = torch.empty_like(param).copy_(tensor) if tensor.shape == param.shape else tensor
        if tensor.ndim and tensor.shape != param.shape:
            shapes = f"{tuple(tensor.shape)}, its weights {tuple(param.shape)}"
            raise ValueError(f"optimizer/{path} has shape {shapes}")
        state.setdefault(int(number), {})[name] = laid_out
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


class FiniteGuard:
    """Takes steps until a loss or gradient is not finite, without making the host wait.

    torch's fused optimizers read `found_inf` on the device and change nothing where it is 1. It
    stays 1: later steps are skipped too, and their count tells the first, when the host reads it.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.found_inf, self.num_skipped = (torch.zeros((), device=device) for _ in range(2))
        self.optimizer.found_inf = self.found_inf  # type: ignore[attr-defined]
        self.last_step = -1

    @torch.no_grad()
    def step(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Take step number `step` unless `loss` or the gradient's `norm` is not finite, or a step
        before was skipped."""
        self.check(loss, norm)
        self.optimizer.step()
        self.last_step = step

    def check(self, loss: Tensor, norm: Tensor) -> None:
        """Set `found_inf` to 1 from the first step on whose `loss` or `norm` is not finite."""
        # 0 times a number that is not finite is NaN.
        self.found_inf.add_(loss, alpha=0).add_(norm, alpha=0).nan_to_num_(nan=1)
        self.num_skipped += self.found_inf

    @property
    def first_skipped_step(self) -> Tensor:
        """The number of the first step that was not taken; -1 if all were."""
        first = self.last_step + 1 - self.num_skipped.double()
        return torch.where(self.num_skipped > 0, first, -1)
