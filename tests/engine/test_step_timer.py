from time import perf_counter, sleep

import pytest
import torch

from cnnlab.engine.fit import fit
from cnnlab.engine.step_timer import STEP_PHASES, StepTimer
from tests.engine.test_fit import SyntheticBatches, make_network, make_step

CPU = torch.device("cpu")


class PhaseRecorder(StepTimer):
    """A timer that also keeps the order of the phases."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.phases: list[str] = []

    def mark(self, phase: str) -> None:
        super().mark(phase)
        self.phases.append(phase)


def test_all_time_is_attributed_to_a_phase() -> None:
    timer, began = StepTimer(CPU), perf_counter()
    for phase, seconds in (("data", 0.02), ("forward", 0.03), ("data", 0.01)):
        sleep(seconds)
        timer.mark(phase)
    elapsed = perf_counter() - began
    assert timer.host_seconds["data"] >= 0.03 and timer.host_seconds["forward"] >= 0.03
    assert timer.host_seconds["step"] == 0 and timer.num_marks == 3
    assert sum(timer.host_seconds.values()) == pytest.approx(elapsed, abs=0.002)
    timer.reset()
    assert sum(timer.host_seconds.values()) == 0 and timer.get_device_seconds() == {}


def test_timed_loop_marks_phases_in_order_and_computes_the_same() -> None:
    timer, models = PhaseRecorder(CPU), (make_network(), make_network())
    steps, batches = [make_step(model) for model in models], SyntheticBatches(2)
    for train_step, source in (
        (steps[0], batches),
        (timer.wrap_step(steps[1]), timer.wrap_batches(batches)),
    ):
        torch.manual_seed(1)  # dropout
        for _ in fit(train_step, source, lambda _: 1.0, steps=2, start_step=0, log_every=1000):
            pass
    phases = ["data", "forward", "backward", "bookkeeping", "step", "bookkeeping"]
    assert timer.phases == [*phases, *phases, "waiting"]
    assert {*timer.phases, "logging"} == set(STEP_PHASES)  # the caller marks logging
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(plain, timed) for plain, timed in pairs)
    assert all(seconds > 0 for phase, seconds in timer.host_seconds.items() if phase != "logging")


def test_overhead_is_microseconds() -> None:
    assert 0 < StepTimer(CPU).measure_overhead() < 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_device_time_is_measured_on_device() -> None:
    device = torch.device("cuda")
    timer, a = StepTimer(device), torch.randn(4096, 4096, device=device)
    for _ in range(20):
        a = a @ a / 64
    timer.mark("forward")
    seconds = timer.get_device_seconds()
    assert seconds["forward"] > timer.host_seconds["forward"] and seconds["data"] == 0
