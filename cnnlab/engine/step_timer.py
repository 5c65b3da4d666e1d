"""Where the time of a step goes, part by part, measured in the loop itself."""

from time import perf_counter

import torch

STEP_PHASES = ("data", "forward", "backward", "step", "bookkeeping", "logging", "waiting")


class StepTimer:
    """Given to `fit` as its `lap`: seconds of the host for each part of a step and, on CUDA, seconds of the device, by
    events in its own queue, so that nothing waits for it. Parts: batch made; forward and loss; backward; optimizer;
    gradient's norm, guard and sums; what the caller does with a report; the host's wait for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Begin anew, from now."""
        self.host_seconds, self.num_marks = dict.fromkeys(STEP_PHASES, 0.0), 0
        self.events: list[tuple[str, torch.cuda.Event]] = []
        self.record_event("")
        self.last_mark = perf_counter()

    def record_event(self, part: str) -> None:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self.events.append((part, event))

    def __call__(self, part: str) -> None:
        """The part that has just ended."""
        now = perf_counter()
        self.host_seconds[part] += now - self.last_mark
        self.num_marks += 1
        self.record_event(part)
        self.last_mark = now

    def get_device_seconds(self) -> dict[str, float]:
        """Seconds of the device for each part, its idle time before a part's work comes among them; empty elsewhere."""
        if self.device.type != "cuda":
            return {}
        torch.cuda.synchronize(self.device)
        found = dict.fromkeys(STEP_PHASES, 0.0)
        for (_, before), (part, after) in zip(self.events, self.events[1:], strict=False):
            found[part] += before.elapsed_time(after) / 1000
        return found

    def measure_overhead(self, laps: int = 10_000) -> float:
        """Seconds that one lap takes: what the measuring adds."""
        other = StepTimer(self.device)
        began = perf_counter()
        for _ in range(laps):
            other("data")
        return (perf_counter() - began) / laps
