import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.engine.optim import (
    OPTIMIZERS,
    FiniteGuard,
    Optimizer,
    adam,
    adamw,
    flatten_optimizer_state,
    restore_optimizer,
    sgd,
)

SETTINGS = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "adam": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
    "adamw": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
    "muon": {
        "lr": 0.1,
        "momentum": 0.6,
        "newton_schulz_steps": 3,
        "normalize": True,
        "weight_decay": 0.01,
        "linear_lr": 0.1,
        "bias_lr": 0.1,
        "sgd_momentum": 0.9,
        "sgd_weight_decay": 0.01,
    },
}
THEIRS: dict[str, Callable[..., Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4 * 4, 3)
    )


def train(model: nn.Module, optimizer: Optimizer, steps: int, rng: torch.Generator) -> None:
    for _ in range(steps):
        x, y = torch.randn(5, 2, 6, 6, generator=rng), torch.randint(3, (5,), generator=rng)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", THEIRS)
def test_steps_are_torchs(name: str) -> None:
    """Against torch's for-loop implementation, with decay on weights only."""
    ours, theirs = network(), network()
    settings = SETTINGS[name] | (
        {"betas": tuple(SETTINGS[name]["betas"])} if "betas" in SETTINGS[name] else {}
    )
    weights = [p for p in theirs.parameters() if p.ndim > 1]
    others = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    train(
        ours,
        OPTIMIZERS[name](ours.parameters(), **SETTINGS[name]),
        5,
        torch.Generator().manual_seed(1),
    )
    train(
        theirs, THEIRS[name](groups, **settings, foreach=False), 5, torch.Generator().manual_seed(1)
    )
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_one_group_without_decay_has_the_order_of_two(name: str) -> None:
    """Checkpoints number the parameters in the order of the groups."""
    model = network()
    one, two = (
        OPTIMIZERS[name](model.parameters(), **SETTINGS[name] | {"weight_decay": decay})
        for decay in (0.0, 0.01)
    )
    orders = [[id(p) for g in o.param_groups for p in g["params"]] for o in (one, two)]
    assert orders[0] == orders[1] and (len(one.param_groups), len(two.param_groups)) == (1, 2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str, layout: torch.memory_format) -> None:
    through = network().to(memory_format=layout)
    optimizer, rng = (
        OPTIMIZERS[name](through.parameters(), **SETTINGS[name]),
        torch.Generator().manual_seed(1),
    )
    train(through, optimizer, 3, rng)
    kept = {k: v.clone().contiguous() for k, v in flatten_optimizer_state(optimizer).items()}
    weights = {k: v.clone().contiguous() for k, v in through.state_dict().items()}
    rng_state = rng.get_state()
    train(through, optimizer, 3, rng)

    resumed = network(seed=9).to(memory_format=layout)
    resumed.load_state_dict(weights)
    again = OPTIMIZERS[name](resumed.parameters(), **SETTINGS[name])
    restore_optimizer(again, kept)
    train(resumed, again, 3, torch.Generator().set_state(rng_state) or rng)
    for mine, other in zip(
        resumed.state_dict().values(), through.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("bad", ["loss", "norm"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_not_finite_changes_nothing_and_is_remembered(name: str, bad: str) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](model.parameters(), **SETTINGS[name])
    guard, one, nan = (
        FiniteGuard(optimizer, torch.device("cpu")),
        torch.tensor(1.0),
        torch.tensor(float("nan")),
    )

    def step(number: int, loss: torch.Tensor, norm: torch.Tensor) -> None:
        F.cross_entropy(model(torch.randn(5, 2, 6, 6)), torch.tensor([0, 1, 2, 0, 1])).backward()
        guard.step(number, loss, norm)
        optimizer.zero_grad()

    step(0, one, one)
    assert guard.first_skipped_step == -1
    weights, state = (
        [p.clone() for p in model.parameters()],
        {k: v.clone() for k, v in flatten_optimizer_state(optimizer).items()},
    )
    step(7, nan if bad == "loss" else one, torch.tensor(float("inf")) if bad == "norm" else one)
    step(8, nan, nan)
    assert guard.first_skipped_step == 7
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
    assert all(torch.equal(v, state[k]) for k, v in flatten_optimizer_state(optimizer).items())


def test_finite_step_after_a_skipped_one_is_skipped_too() -> None:
    model = network()
    optimizer = OPTIMIZERS["sgd"](model.parameters(), **SETTINGS["sgd"])
    guard, finite = FiniteGuard(optimizer, torch.device("cpu")), torch.tensor(1.0)
    weights = [p.clone() for p in model.parameters()]
    for number, norm in ((3, torch.tensor(-math.inf)), (4, finite), (5, finite)):
        F.cross_entropy(model(torch.randn(5, 2, 6, 6)), torch.tensor([0, 1, 2, 0, 1])).backward()
        guard.step(number, finite, norm)
    assert guard.first_skipped_step == 3
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))


def test_huge_finite_loss_and_norm_are_no_reason_to_skip() -> None:
    model, huge = network(), torch.tensor(torch.finfo(torch.float32).max)
    guard = FiniteGuard(sgd(model.parameters(), **SETTINGS["sgd"]), torch.device("cpu"))
    guard.step(0, huge, huge)
    assert guard.first_skipped_step == -1


def test_guard_adds_four_kernels_to_a_step() -> None:
    """Each call of a torch operation is a kernel on a GPU."""
    model, one = network(), torch.tensor(1.0)
    optimizer = sgd(model.parameters(), **SETTINGS["sgd"])
    guard, calls = FiniteGuard(optimizer, torch.device("cpu")), []

    class RecordCalls(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            calls.extend([func] if func.namespace == "aten" else [])
            return func(*args, **(kwargs or {}))

    with RecordCalls():
        guard.step(0, one, one)  # without a gradient the optimizer has nothing to do
    assert len(calls) == 4


def test_settings_that_cannot_be_are_refused() -> None:
    params = list(network().parameters())
    with pytest.raises(ValueError, match="lr must be above 0"):
        sgd(params, **SETTINGS["sgd"] | {"lr": 0.0})
    with pytest.raises(ValueError, match="betas must be two numbers"):
        adam(params, **SETTINGS["adam"] | {"betas": [0.9]})
    with pytest.raises(TypeError):
        adamw(params, lr=0.1)  # every number has its home in YAML: there are no defaults here
