from time import perf_counter, sleep

import pytest
import torch
from torch import nn

from cnnlab.engine.step_timer import STEP_PHASES, StepTimer
from tests.engine.test_fit import ADAM, PLAIN, Made, adam, fit, network

CPU = torch.device("cpu")


def test_every_moment_belongs_to_a_part() -> None:
    laps, began = StepTimer(CPU), perf_counter()
    for part, seconds in (("data", 0.02), ("forward", 0.03), ("data", 0.01)):
        sleep(seconds)
        laps(part)
    whole = perf_counter() - began
    assert (
        laps.host_seconds["data"] >= 0.03
        and laps.host_seconds["forward"] >= 0.03
        and laps.host_seconds["step"] == 0
    )
    assert (
        sum(laps.host_seconds.values()) == pytest.approx(whole, abs=0.002) and laps.num_marks == 3
    )
    laps.reset()
    assert sum(laps.host_seconds.values()) == 0 and laps.get_device_seconds() == {}


def test_the_loop_tells_its_parts_in_order_and_computes_the_same() -> None:
    told: list[str] = []
    models: list[nn.Module] = []
    for lap in ({}, {"lap": told.append}):
        model = network()
        settings = PLAIN | lap
        optimizer = adam(model.parameters(), **ADAM)
        for _ in fit(
            model, Made(2), optimizer, lambda step: 1.0, steps=2, start_step=0, **settings
        ):
            pass
        models.append(model)
    step = ["data", "forward", "backward", "bookkeeping", "step", "bookkeeping"]
    assert told == [*step, *step, "waiting", "logging"] and set(told) == set(STEP_PHASES)
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_lap_costs_microseconds() -> None:
    assert 0 < StepTimer(CPU).measure_overhead() < 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_devices_time_is_measured_on_the_device() -> None:
    device = torch.device("cuda")
    laps, a = StepTimer(device), torch.randn(4096, 4096, device=device)
    for _ in range(20):
        a = a @ a / 64
    laps("forward")
    found = laps.get_device_seconds()
    assert found["forward"] > laps.host_seconds["forward"] and found["data"] == 0
