from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.engine.ema import ModelEMA
from cnnlab.engine.fit import fit
from cnnlab.engine.meter import Meter, NonFiniteError, StepReport
from cnnlab.engine.objective import CrossEntropy
from cnnlab.engine.optim import Optimizer, adam, flatten_optimizer_state, restore_optimizer, sgd
from cnnlab.engine.schedule import Schedule
from cnnlab.engine.train_step import TrainStep
from cnnlab.models.cnn import cnn, mlp

STEP = {
    "objective": CrossEntropy(0.0),
    "clip_norm": None,
    "precision": "float32",
    "loss_scale": None,
    "ema": None,
}
ADAM = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
SGD = {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}


def make_step(model: nn.Module, optimizer: Optimizer | None = None, **changes: Any) -> TrainStep:
    """The parts of a step on the CPU, with Adam unless another optimizer is given."""
    optimizer = optimizer or adam(model.parameters(), **ADAM)
    return TrainStep(model, optimizer, Meter(torch.device("cpu"), ("accuracy",)), **STEP | changes)


class SyntheticBatches:
    """Batches of noise that depend on epoch and position only.

    `poison` is the step whose images are NaN.
    """

    def __init__(self, count: int = 5, poison: int | None = None, size: int = 8) -> None:
        self.count, self.poison, self.size = count, poison, size

    def __len__(self) -> int:
        return self.count

    def iterate_epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(start, self.count):
            step = epoch * self.count + i
            rng = torch.Generator().manual_seed(step)
            images = torch.randn(self.size, 1, 8, 8, generator=rng)
            yield (
                images * (float("nan") if step == self.poison else 1),
                torch.randint(10, (self.size,), generator=rng),
            )


class RepeatedBatch(SyntheticBatches):
    """One batch again and again."""

    def iterate_epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(start, self.count):
            yield next(super().iterate_epoch(0))


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return cnn(
        (1, 8, 8),
        10,
        pool="max",
        batch_norm=None,
        output="linear",
        filters=[4, 4],
        extent=3,
        hidden=[16],
        dropout=0.5,
    )


def iterate(
    model: nn.Module,
    batches: SyntheticBatches,
    steps: int,
    *,
    start_step: int = 0,
    log_every: int = 1000,
    schedule: Schedule = lambda step: 1.0,
    wants_report: Callable[[], object] = lambda: None,
    **changes: Any,
) -> Iterator[StepReport]:
    """The reports of a training loop; `changes` are fields of TrainStep."""
    return fit(
        make_step(model, **changes),
        batches,
        schedule,
        steps=steps,
        start_step=start_step,
        log_every=log_every,
        wants_report=wants_report,
    )


def run(*args: Any, **kwargs: Any) -> list[StepReport]:
    return list(iterate(*args, **kwargs))


def test_overfits_one_batch() -> None:
    model = mlp((1, 8, 8), 10, hidden=[32], dropout=0.0)
    reports = run(model, RepeatedBatch(50), 100)
    assert reports[-1].loss < 0.05 < reports[0].loss and reports[-1].metrics["accuracy"] == 1.0


def test_step_matches_plain_torch() -> None:
    """Mean loss, accuracy and gradient norm of the window, against a loop written out."""
    ours, theirs = (mlp((1, 8, 8), 10, hidden=[16], dropout=0.0) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    (report,) = run(
        ours,
        SyntheticBatches(4),
        4,
        optimizer=sgd(ours.parameters(), **SGD),
        objective=CrossEntropy(0.1),
    )
    optimizer, losses, norms, hits = torch.optim.SGD(theirs.parameters(), lr=0.1), [], [], 0
    for images, labels in SyntheticBatches(4).iterate_epoch(0):
        logits = theirs(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.cat([p.grad.flatten() for p in theirs.parameters()]).norm().item())
        optimizer.step()
        losses.append(loss.item())
        hits += int((logits.argmax(1) == labels).sum())
    assert report.loss == pytest.approx(sum(losses) / 4)
    assert report.gradient_norm == pytest.approx(sum(norms) / 4)
    assert (report.metrics["accuracy"], report.num_images, report.step) == (hits / 32, 32, 4)
    for our_param, their_param in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our_param, their_param)


def test_reports_at_log_steps_and_epoch_ends() -> None:
    reports = run(make_network(), SyntheticBatches(5), 12, log_every=3)
    assert [(r.step, r.epoch, r.is_epoch_end) for r in reports] == [
        (3, 0, False),
        (5, 0, True),
        (6, 1, False),
        (9, 1, False),
        (10, 1, True),
        (12, 2, True),
    ]
    assert [r.num_images for r in reports] == [24, 16, 8, 24, 8, 16]


def test_schedule_sets_learning_rate_of_each_step() -> None:
    model = make_network()
    reports = iterate(
        model,
        SyntheticBatches(5),
        5,
        optimizer=sgd(model.parameters(), **SGD),
        schedule=lambda step: 1 / (1 + step),
        log_every=1,
    )
    assert [r.lr for r in reports] == pytest.approx([0.1 / (1 + step) for step in range(5)])


def test_requested_report_leaves_window_open() -> None:
    reports = run(make_network(), SyntheticBatches(5), 10, log_every=4)
    scheduled = [report for report in reports if report.is_scheduled]
    requests = iter([False, True, True] + [False] * 20)
    torch.manual_seed(0)
    both = run(
        make_network(), SyntheticBatches(5), 10, log_every=4, wants_report=lambda: next(requests)
    )
    assert [(r.step, r.num_images) for r in both if not r.is_scheduled] == [(2, 16), (3, 24)]
    assert [(r.step, r.loss, r.num_images) for r in both if r.is_scheduled] == [
        (r.step, r.loss, r.num_images) for r in scheduled
    ]


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_resumed_run_equals_uninterrupted_run_bit_for_bit(stop: int) -> None:
    """With dropout, an average of the weights, and in the middle of an epoch."""
    uninterrupted = make_network()
    uninterrupted_ema = ModelEMA(uninterrupted, 0.9)
    run(uninterrupted, SyntheticBatches(), 11, ema=uninterrupted_ema)

    model = make_network()
    ema, optimizer = ModelEMA(model, 0.9), adam(model.parameters(), **ADAM)
    reports = iterate(model, SyntheticBatches(), 11, log_every=1, ema=ema, optimizer=optimizer)
    assert [report.step for report in islice(reports, stop)][-1] == stop
    rng_state = torch.get_rng_state()
    optimizer_state = {k: v.clone() for k, v in flatten_optimizer_state(optimizer).items()}

    resumed = make_network()
    torch.manual_seed(77)  # whatever the generator has been used for since
    resumed.load_state_dict(model.state_dict())
    resumed_ema = ModelEMA(resumed, 0.9)
    resumed_ema.model.load_state_dict(ema.model.state_dict())
    resumed_ema.num_updates = ema.num_updates
    resumed_optimizer = adam(resumed.parameters(), **ADAM)
    restore_optimizer(resumed_optimizer, optimizer_state)
    torch.set_rng_state(rng_state)
    run(
        resumed,
        SyntheticBatches(),
        11,
        start_step=stop,
        optimizer=resumed_optimizer,
        ema=resumed_ema,
    )
    for first, second in ((resumed, uninterrupted), (resumed_ema.model, uninterrupted_ema.model)):
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_non_finite_loss_stops_run_and_names_step() -> None:
    model, steps = make_network(), []
    with pytest.raises(NonFiniteError, match="step 8") as error:
        for report in iterate(model, SyntheticBatches(5, poison=7), 50, log_every=4):
            steps.append(report.step)
    assert error.value.step == 7 and steps == [4, 5]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_clipping_limits_step() -> None:
    initial, clipped = make_network(), make_network()
    run(
        clipped,
        SyntheticBatches(1),
        1,
        optimizer=sgd(clipped.parameters(), **SGD),
        clip_norm=0.01,
    )
    pairs = zip(clipped.parameters(), initial.parameters(), strict=True)
    difference = torch.cat([(a - b).flatten() for a, b in pairs])
    assert difference.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_mixed_precision_keeps_weights_float32() -> None:
    mixed = mlp((1, 8, 8), 10, hidden=[32], dropout=0.0)
    exact = mlp((1, 8, 8), 10, hidden=[32], dropout=0.0)
    exact.load_state_dict(mixed.state_dict())
    mixed_loss = run(mixed, RepeatedBatch(30), 30, precision="bfloat16")[-1].loss
    exact_loss = run(exact, RepeatedBatch(30), 30)[-1].loss
    assert mixed_loss == pytest.approx(exact_loss, rel=0.3) and mixed_loss != exact_loss
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
