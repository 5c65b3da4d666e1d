from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.engine.ema import ModelEMA
from cnnlab.engine.fit import fit as fit_by
from cnnlab.engine.meter import Meter, NonFiniteError, StepReport
from cnnlab.engine.optim import adam, flatten_optimizer_state, restore_optimizer, sgd
from cnnlab.models.cnn import cnn, mlp

PLAIN = {
    "average": None,
    "label_smoothing": 0.0,
    "clip_norm": None,
    "autocast": None,
    "log_every": 1000,
}
ADAM = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
SGD = {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}


def fit(*parts: Any, meter: Meter | None = None, **settings: Any) -> Iterator[StepReport]:
    return fit_by(*parts, meter=meter or Meter(torch.device("cpu")), **settings)


class Made:
    """Batches of noise that follow from (epoch, number) alone; `poison`: a step whose pictures are not finite."""

    def __init__(self, count: int = 5, poison: int | None = None, size: int = 8) -> None:
        self.count, self.poison, self.size = count, poison, size

    def __len__(self) -> int:
        return self.count

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(start, self.count):
            step = epoch * self.count + i
            rng = torch.Generator().manual_seed(step)
            pictures = torch.randn(self.size, 1, 8, 8, generator=rng)
            yield (
                pictures * (float("nan") if step == self.poison else 1),
                torch.randint(10, (self.size,), generator=rng),
            )


class Same(Made):
    """One batch again and again."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(start, self.count):
            yield next(super().epoch(0))


def network() -> nn.Module:
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


def run(
    model: nn.Module,
    batches: Made,
    steps: int,
    done: int = 0,
    optimizer: Any = None,
    **changes: Any,
) -> list[StepReport]:
    optimizer = optimizer or adam(model.parameters(), **ADAM)
    return list(
        fit(
            model,
            batches,
            optimizer,
            lambda step: 1.0,
            steps=steps,
            start_step=done,
            **PLAIN | changes,
        )
    )


def test_it_learns_one_batch_by_heart() -> None:
    model = mlp((1, 8, 8), 10, hidden=[32], dropout=0.0)
    reports = run(model, Same(50), 100)
    assert reports[-1].loss < 0.05 < reports[0].loss and reports[-1].accuracy == 1.0


def test_a_step_is_the_one_that_plain_torch_takes() -> None:
    """Mean loss, accuracy and gradient norm of the window, against a loop written out."""
    ours, theirs = (mlp((1, 8, 8), 10, hidden=[16], dropout=0.0) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    (report,) = run(ours, Made(4), 4, optimizer=sgd(ours.parameters(), **SGD), label_smoothing=0.1)
    optimizer, losses, norms, hits = torch.optim.SGD(theirs.parameters(), lr=0.1), [], [], 0
    for pictures, labels in Made(4).epoch(0):
        logits = theirs(pictures)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.cat([p.grad.flatten() for p in theirs.parameters()]).norm().item())
        optimizer.step()
        losses.append(loss.item())
        hits += int((logits.argmax(1) == labels).sum())
    assert report.loss == pytest.approx(sum(losses) / 4)
    assert report.gradient_norm == pytest.approx(sum(norms) / 4)
    assert (report.accuracy, report.num_images, report.step) == (hits / 32, 32, 4)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_reports_come_when_they_should() -> None:
    reports = run(network(), Made(5), 12, log_every=3)
    assert [(r.step, r.epoch, r.is_epoch_end) for r in reports] == [
        (3, 0, False), (5, 0, True), (6, 1, False), (9, 1, False), (10, 1, True), (12, 2, True),
    ]  # fmt: skip
    assert [r.num_images for r in reports] == [24, 16, 8, 24, 8, 16]


def test_the_schedule_sets_the_rate_of_each_step() -> None:
    model = network()
    optimizer = sgd(model.parameters(), **SGD)
    reports = fit(
        model,
        Made(5),
        optimizer,
        lambda step: 1 / (1 + step),
        steps=5,
        start_step=0,
        **PLAIN | {"log_every": 1},
    )
    assert [r.lr for r in reports] == pytest.approx([0.1 / (1 + step) for step in range(5)])


def test_a_report_that_was_asked_for_leaves_the_window_open() -> None:
    through = [report for report in run(network(), Made(5), 10, log_every=4) if report.is_scheduled]
    questions = iter([False, True, True] + [False] * 20)
    torch.manual_seed(0)
    asked = run(network(), Made(5), 10, log_every=4, wants_report=lambda: next(questions))
    assert [(r.step, r.num_images) for r in asked if not r.is_scheduled] == [(2, 16), (3, 24)]
    assert [(r.step, r.loss, r.num_images) for r in asked if r.is_scheduled] == [
        (r.step, r.loss, r.num_images) for r in through
    ]


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(stop: int) -> None:
    """With dropout, an average of the weights, and in the middle of an epoch."""
    through = network()
    average = ModelEMA(through, 0.9)
    run(through, Made(), 11, average=average)

    model = network()
    first, optimizer = ModelEMA(model, 0.9), adam(model.parameters(), **ADAM)
    loop = fit(
        model,
        Made(),
        optimizer,
        lambda _: 1.0,
        steps=11,
        start_step=0,
        **PLAIN | {"log_every": 1, "average": first},
    )
    assert [report.step for report in islice(loop, stop)][-1] == stop
    rng, moments = (
        torch.get_rng_state(),
        {k: v.clone() for k, v in flatten_optimizer_state(optimizer).items()},
    )

    resumed = network()
    torch.manual_seed(77)  # whatever the generator has been used for since
    resumed.load_state_dict(model.state_dict())
    second, again = ModelEMA(resumed, 0.9), adam(resumed.parameters(), **ADAM)
    second.model.load_state_dict(first.model.state_dict())
    second.num_updates = first.num_updates
    restore_optimizer(again, moments)
    torch.set_rng_state(rng)
    run(resumed, Made(), 11, start_step=stop, optimizer=again, average=second)
    for mine, other in ((resumed, through), (second.model, average.model)):
        for a, b in zip(mine.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_step() -> None:
    model, steps = network(), []
    optimizer = adam(model.parameters(), **ADAM)
    with pytest.raises(NonFiniteError, match="step 8") as error:
        loop = fit(
            model,
            Made(5, poison=7),
            optimizer,
            lambda _: 1.0,
            steps=50,
            start_step=0,
            **PLAIN | {"log_every": 4},
        )
        for report in loop:
            steps.append(report.step)
    assert error.value.step == 7 and steps == [4, 5]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_clipping_bounds_the_step() -> None:
    free, clipped = network(), network()
    run(free, Made(1), 1, optimizer=sgd(free.parameters(), **SGD))
    torch.manual_seed(0)
    start = network()
    run(clipped, Made(1), 1, optimizer=sgd(clipped.parameters(), **SGD), clip_norm=0.01)
    moved = torch.cat(
        [(a - b).flatten() for a, b in zip(clipped.parameters(), start.parameters(), strict=True)]
    )
    assert moved.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_mixed_precision_trains_and_keeps_the_weights_float32() -> None:
    model = mlp((1, 8, 8), 10, hidden=[32], dropout=0.0)
    exact = mlp((1, 8, 8), 10, hidden=[32], dropout=0.0)
    exact.load_state_dict(model.state_dict())
    rough, fine = (
        run(m, Same(30), 30, autocast=kind) for m, kind in ((model, torch.bfloat16), (exact, None))
    )
    assert (
        rough[-1].loss == pytest.approx(fine[-1].loss, rel=0.3) and rough[-1].loss != fine[-1].loss
    )
    assert all(p.dtype == torch.float32 for p in model.parameters())
