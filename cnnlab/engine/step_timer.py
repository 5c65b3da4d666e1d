"""Where the time of a training step goes, phase by phase, measured in the loop itself."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import wraps
from time import perf_counter
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from cnnlab.engine.fit import BatchSource
from cnnlab.engine.train_step import TrainStep

P = ParamSpec("P")
R = TypeVar("R")

STEP_PHASES = ("data", "forward", "backward", "step", "bookkeeping", "logging", "waiting")

# The methods of TrainStep that end a phase. What runs between two of them belongs to the later.
METHOD_PHASES = {
    "compute_loss": "forward",
    "backward": "backward",
    "clip_gradient": "bookkeeping",
    "update_weights": "step",
    "accumulate": "bookkeeping",
    "read_meter": "waiting",
}


class StepTimer:
    """Seconds of the host in each phase of a step and, on CUDA, seconds of the device.

    Phases: batch; learning rate, forward and loss; backward; optimizer; norm of the gradient, EMA
    and sums; what the caller does with a report; the host's wait for the device. The device is
    timed by events in its own stream, so that nothing waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Set all times to zero and start the clock."""
        self.host_seconds, self.num_marks = dict.fromkeys(STEP_PHASES, 0.0), 0
        self.events: list[tuple[str, torch.cuda.Event]] = []
        self.record_event("")
        self.last_mark = perf_counter()

    def record_event(self, phase: str) -> None:
        """Queue an event on the device that ends `phase`."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self.events.append((phase, event))

    def mark(self, phase: str) -> None:
        """Count the time since the last mark as time of `phase`."""
        now = perf_counter()
        self.host_seconds[phase] += now - self.last_mark
        self.num_marks += 1
        self.record_event(phase)
        self.last_mark = now

    def wrap(self, phase: str, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function`, with a mark of `phase` after each call."""

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            result = function(*args, **kwargs)
            self.mark(phase)
            return result

        return timed

    def wrap_step(self, train_step: TrainStep) -> TrainStep:
        """Return a copy of `train_step` whose methods are timed."""
        timed = copy(train_step)
        for method, phase in METHOD_PHASES.items():
            setattr(timed, method, self.wrap(phase, getattr(timed, method)))
        return timed

    def wrap_batches(self, batches: BatchSource) -> "TimedBatches":
        """Return `batches`, with a mark of `data` after each batch."""
        return TimedBatches(batches, self)

    def get_device_seconds(self) -> dict[str, float]:
        """Return seconds of the device in each phase, with its idle time before the phase's work.

        Empty on other devices than CUDA.
        """
        if self.device.type != "cuda":
            return {}
        torch.cuda.synchronize(self.device)
        seconds = dict.fromkeys(STEP_PHASES, 0.0)
        for (_, before), (phase, after) in zip(self.events, self.events[1:], strict=False):
            seconds[phase] += before.elapsed_time(after) / 1000
        return seconds

    def measure_overhead(self, calls: int = 10_000) -> float:
        """Return the seconds that timing adds to one call."""
        timed = StepTimer(self.device).wrap("data", lambda: None)
        began = perf_counter()
        for _ in range(calls):
            timed()
        return (perf_counter() - began) / calls


@dataclass(frozen=True)
class TimedBatches:
    """A BatchSource whose batches are timed."""

    batches: BatchSource
    timer: StepTimer

    def __len__(self) -> int:
        return len(self.batches)

    def iterate_epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from number `start` on."""
        for batch in self.batches.iterate_epoch(epoch, start):
            self.timer.mark("data")
            yield batch
