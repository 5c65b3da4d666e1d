import torch
from torch import nn

from cnnlab.engine.loss_scale import GROWTH_STEPS, INITIAL_SCALE, LossScale, ScalingGuard
from cnnlab.engine.optim import sgd

CPU = torch.device("cpu")
ONE, INF, NAN = (torch.tensor(value) for value in (1.0, float("inf"), float("nan")))


def make_guard(model: nn.Module) -> ScalingGuard:
    optimizer = sgd(model.parameters(), lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    return ScalingGuard(optimizer, CPU, LossScale(CPU))


def take_step(guard: ScalingGuard, model: nn.Linear, number: int, norm: torch.Tensor) -> bool:
    """Return whether the step changed the weights."""
    before = model.weight.clone()
    guard.loss_scale.backward(model(torch.ones(1, 3)).sum(), model.parameters())
    guard.step(number, ONE, norm)
    return not torch.equal(before, model.weight)


def test_gradients_are_those_of_the_loss() -> None:
    model, scaled = nn.Linear(3, 2), LossScale(CPU)
    (expected,) = torch.autograd.grad(model(torch.ones(1, 3)).square().sum(), [model.weight])
    scaled.backward(model(torch.ones(1, 3)).square().sum(), model.parameters())
    assert model.weight.grad is not None and torch.equal(model.weight.grad, expected)


def test_overflow_skips_one_step_and_halves_the_scale_as_gradscaler_does() -> None:
    model = nn.Linear(3, 2)
    guard, scaler = make_guard(model), torch.amp.GradScaler("cpu")
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(2))])
    for number, norm in enumerate([ONE, INF, NAN, ONE]):
        assert take_step(guard, model, number, norm) == (norm is ONE)
        scaler.scale(torch.zeros(()))
        theirs.param_groups[0]["params"][0].grad = norm.expand(2).clone()
        scaler.step(theirs)
        scaler.update()
        assert guard.loss_scale.scale == scaler.get_scale()
    assert guard.loss_scale.scale == INITIAL_SCALE / 4 and guard.first_skipped_step == -1


def test_scale_grows_after_steps_without_overflow() -> None:
    scale = LossScale(CPU)
    for _ in range(GROWTH_STEPS):
        scale.update(torch.zeros(()))
    assert scale.scale == 2 * INITIAL_SCALE


def test_overflow_at_the_smallest_scale_and_a_loss_that_is_not_finite_stop_the_run() -> None:
    model = nn.Linear(3, 2)
    guard = make_guard(model)
    guard.loss_scale.scale.fill_(2.0)
    assert not take_step(guard, model, 0, INF) and guard.first_skipped_step == -1
    assert not take_step(guard, model, 1, INF) and guard.first_skipped_step == 1
    assert not take_step(guard, model, 2, ONE) and guard.first_skipped_step == 1
    guard = make_guard(model)
    guard.step(5, NAN, ONE)
    assert guard.first_skipped_step == 5
