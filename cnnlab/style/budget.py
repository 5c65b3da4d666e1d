"""How long a transfer may take, in steps or seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from time import monotonic

from cnnlab.style.scales import Size

SETUP_STEPS = 0.8  # steps that it takes to look at as many pixels as the picture's


@dataclass
class TransferBudget:
    """When each scale has had enough: so many steps; or, where there is a time, its share of it. From when painting
    begins each scale may take until half of what the next may, the last until `seconds` after `began`, less what saving
    takes; all but the last are content with their steps before that. `beside`: for each size the paintings' pixels, as
    a share of the picture's."""

    sizes: Sequence[Size]
    steps: Sequence[int]
    style_pixel_ratios: Sequence[float]
    time_limit_s: float | None = None
    started_at: float = field(default_factory=monotonic)  # the command, on the monotonic clock
    save_s: float = 0.0  # seconds
    optimization_started_at: float = field(default_factory=monotonic)  # and the painting
    steps_taken: list[int] = field(default_factory=list)  # steps at each scale so far
    step_end_times: list[float] = field(default_factory=list)  # of this scale's steps

    def should_stop(self, scale: int, step: int) -> bool:
        """Asked after each step; both count from 1."""
        self.steps_taken[scale - 1 :] = [step]
        self.step_end_times = [*(self.step_end_times if step > 1 else []), monotonic()]
        last = scale == len(self.sizes)
        if self.time_limit_s is None or not last:
            return step >= self.steps[scale - 1] or self.is_out_of_time(scale)
        return self.is_out_of_time(scale)

    @property
    def median_step_s(self) -> float:
        """Seconds of a step at this scale: the median of the last nine, which the search along a line lengthens at
        times."""
        took = [after - before for before, after in pairwise(self.step_end_times[-10:])]
        return median(took) if took else 0.0

    def deadline(self, scale: int) -> float:
        """When a scale's time is over. Half a step is kept to look at the picture once more."""
        if self.time_limit_s is None:
            return float("inf")
        end = self.started_at + self.time_limit_s - self.save_s - 0.5 * self.median_step_s
        return self.optimization_started_at + (end - self.optimization_started_at) * 2.0 ** (
            scale - len(self.sizes)
        )

    def is_out_of_time(self, scale: int) -> bool:
        """Whether a scale's time does not hold another step."""
        return self.step_end_times[-1] + self.median_step_s > self.deadline(scale)

    def can_start(self, scale: int) -> bool:
        """Whether there is time to begin with a scale: for one step, and to set up its loss. That looks at all pictures
        once, which took 0.5 to 0.6 of a step for as many pixels as the picture's, and the first time a little more."""
        if self.time_limit_s is None or scale > len(self.sizes):
            return True
        before, after = (self.sizes[i][0] * self.sizes[i][1] for i in (scale - 2, scale - 1))
        steps = 1 + SETUP_STEPS * (1 + self.style_pixel_ratios[scale - 1])
        return self.step_end_times[
            -1
        ] + steps * self.median_step_s * after / before < self.deadline(len(self.sizes))

    def remaining_s(self, scale: int, step: int) -> float:
        """Seconds to go, steps taking as long as the pixels they have."""
        if self.time_limit_s is not None:
            return max(0.0, self.started_at + self.time_limit_s - self.step_end_times[-1])
        pixels = [height * width for height, width in self.sizes]
        ahead = [(self.steps[scale - 1] - step) * pixels[scale - 1]]
        ahead += [n * p for n, p in zip(self.steps[scale:], pixels[scale:], strict=True)]
        return self.median_step_s * sum(ahead) / pixels[scale - 1]
