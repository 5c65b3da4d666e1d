"""How many steps, or how many seconds, a transfer may take."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from time import monotonic

from cnnlab.style.canvas import canvas_size
from cnnlab.style.scales import Size

SETUP_STEPS = 0.8  # time of one evaluation without gradient, in steps at the same number of pixels
STEP_WINDOW = 10  # step end times that the median step is taken from


@dataclass
class TransferBudget:
    """The steps of each scale, or its share of a time limit.

    Without a limit each scale takes its number of `steps`. With one, the last scale ends
    `time_limit_s` after `started_at`, less `save_s`; each earlier scale ends at half of the time
    that the next one has, counted from `optimization_started_at`, or after its steps.
    `style_pixel_ratios`: for each size the style images' pixels per pixel of the canvas, which is
    the image with a `margin`.
    """

    sizes: Sequence[Size]
    steps: Sequence[int]
    style_pixel_ratios: Sequence[float]
    time_limit_s: float | None = None
    started_at: float = field(default_factory=monotonic)  # of the command, monotonic clock
    save_s: float = 0.0  # seconds reserved to save the image
    optimization_started_at: float = field(default_factory=monotonic)
    margin: int = 0
    steps_taken: list[int] = field(default_factory=list)  # at each scale so far
    step_end_times: list[float] = field(default_factory=list)  # at the current scale

    def should_stop(self, scale: int, step: int) -> bool:
        """Record the end of a step and return whether the scale ends; both count from 1."""
        self.steps_taken[scale - 1 :] = [step]
        self.step_end_times = [*(self.step_end_times if step > 1 else []), monotonic()]
        is_last_scale = scale == len(self.sizes)
        if self.time_limit_s is None or not is_last_scale:
            return step >= self.steps[scale - 1] or self.is_out_of_time(scale)
        return self.is_out_of_time(scale)

    @property
    def median_step_s(self) -> float:
        """Return the median seconds of the scale's last nine steps: a line search is an outlier."""
        ends = self.step_end_times[-STEP_WINDOW:]
        durations = [after - before for before, after in pairwise(ends)]
        return median(durations) if durations else 0.0

    def deadline(self, scale: int) -> float:
        """Return when a scale ends. A step is reserved to evaluate the final image."""
        if self.time_limit_s is None:
            return float("inf")
        begin = self.optimization_started_at
        end = self.started_at + self.time_limit_s - self.save_s - self.median_step_s
        return begin + (end - begin) * 2.0 ** (scale - len(self.sizes))

    def is_out_of_time(self, scale: int) -> bool:
        """Return whether another step would end after the scale's deadline."""
        return self.step_end_times[-1] + self.median_step_s > self.deadline(scale)

    def can_start(self, scale: int) -> bool:
        """Return whether there is time for a scale's targets and one step.

        The targets need one evaluation of all images, measured at 0.5 to 0.6 steps for as many
        pixels as the output image has, and slightly more the first time.
        """
        if self.time_limit_s is None or scale > len(self.sizes):
            return True
        before, after = (self.pixels(i) for i in (scale - 2, scale - 1))
        steps = 1 + SETUP_STEPS * (1 + self.style_pixel_ratios[scale - 1])
        ready = self.step_end_times[-1] + steps * self.median_step_s * after / before
        return ready < self.deadline(len(self.sizes))

    def pixels(self, index: int) -> int:
        """Return the pixels that are optimized at a scale, counted from 0."""
        height, width = canvas_size(self.sizes[index], self.margin)
        return height * width

    def remaining_s(self, scale: int, step: int) -> float:
        """Return the estimated seconds left, a step's time being proportional to its pixels."""
        if self.time_limit_s is not None:
            return max(0.0, self.started_at + self.time_limit_s - self.step_end_times[-1])
        pixels = [self.pixels(i) for i in range(len(self.sizes))]
        ahead = [(self.steps[scale - 1] - step) * pixels[scale - 1]]
        ahead += [n * p for n, p in zip(self.steps[scale:], pixels[scale:], strict=True)]
        return self.median_step_s * sum(ahead) / pixels[scale - 1]
