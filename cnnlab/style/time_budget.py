"""How many steps a transfer takes at which scales, or which it has time for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from time import monotonic

from cnnlab.style.canvas import canvas_size
from cnnlab.style.scales import Size

SETUP_STEPS = 0.8  # time of one evaluation without gradient, in steps at the same number of pixels
STEP_WINDOW = 10  # step end times that the median step is taken from
MIN_STEPS = 4  # that a scale needs: with fewer, the image is enlarged from the scale below
MIN_FINE_STEPS = 20  # the same of a scale larger than the output image
EXTRA_STEPS = 2  # most steps with a time limit, relative to those without


@dataclass
class TransferBudget:
    """The steps of each scale, or as many and as large scales as a time limit allows.

    Without a limit each scale takes its number of `steps`. With one, the optimization ends
    `time_limit_s` after `started_at`, less `save_s`, or earlier where more steps would not help: a
    network that was not optimized soon finds further steps worse, and more pixels better. So the
    scales take equally many steps, and as many scales are used as can take some steps each.

    `style_pixel_ratios`: for each size the style images' pixels per pixel of the canvas, which is
    the image with a `margin`; `output_scale`: the number of the scale of the output image's size.
    """

    sizes: Sequence[Size]
    steps: Sequence[int]
    style_pixel_ratios: Sequence[float]
    time_limit_s: float | None = None
    started_at: float = field(default_factory=monotonic)  # of the command, monotonic clock
    save_s: float = 0.0  # seconds reserved to save the image
    margin: int = 0
    output_scale: int | None = None  # None: the last
    steps_taken: list[int] = field(default_factory=list)  # at each scale so far
    step_end_times: list[float] = field(default_factory=list)  # at the current scale

    def should_stop(self, scale: int, step: int) -> bool:
        """Record the end of a step and return whether the scale ends; both count from 1."""
        self.steps_taken[scale - 1 :] = [step]
        self.step_end_times = [*(self.step_end_times if step > 1 else []), monotonic()]
        if self.time_limit_s is None:
            return step >= self.steps[scale - 1]
        if step >= EXTRA_STEPS * self.steps[scale - 1] or self.is_out_of_time(scale):
            return True
        if not self.median_step_s:
            return False
        last = self.last_scale(scale)
        ahead = sum(self.step_s(scale, later) for later in range(scale, last + 1))
        before = step * self.step_s(scale, scale)
        return step + 1 > (before + self.available_s(scale, last)) / ahead

    @property
    def median_step_s(self) -> float:
        """Return the median seconds of the scale's last nine steps: a line search is an outlier."""
        ends = self.step_end_times[-STEP_WINDOW:]
        durations = [after - before for before, after in pairwise(ends)]
        return median(durations) if durations else 0.0

    def step_s(self, scale: int, later: int) -> float:
        """Return the estimated seconds of a step at a later scale: proportional to the pixels."""
        return self.median_step_s * self.pixels(later) / self.pixels(scale)

    def available_s(self, scale: int, last: int) -> float:
        """Return the seconds that are left for steps if the last scale is `last`.

        The targets of a scale, and the evaluation of the final image, need one evaluation of all
        images, measured at 0.5 to 0.6 steps for as many pixels as the output image has, and
        slightly more the first time.
        """
        if self.time_limit_s is None:
            return float("inf")
        setup = sum(
            SETUP_STEPS * (1 + self.style_pixel_ratios[later - 1]) * self.step_s(scale, later)
            for later in range(scale + 1, last + 1)
        )
        final = self.step_s(scale, min(last, self.output_scale or last))
        end = self.started_at + self.time_limit_s - self.save_s - final
        return end - self.step_end_times[-1] - setup

    def is_out_of_time(self, scale: int) -> bool:
        """Return whether there is no time for another step at a scale."""
        return self.available_s(scale, scale) < self.median_step_s

    def last_scale(self, scale: int) -> int:
        """Return the largest scale that there is time for, at least the current one."""
        for last in range(len(self.sizes), scale, -1):
            later = sum(self.step_s(scale, i) for i in range(scale + 1, last + 1))
            is_fine = last > (self.output_scale or len(self.sizes))
            min_steps = MIN_FINE_STEPS if is_fine else MIN_STEPS
            if self.available_s(scale, last) >= min_steps * later:
                return last
        return scale

    def can_start(self, scale: int) -> bool:
        """Return whether there is time for the targets and the steps of a further scale."""
        if self.time_limit_s is None or scale > len(self.sizes):
            return True
        return self.last_scale(scale - 1) >= scale

    def pixels(self, scale: int) -> int:
        """Return the pixels that are optimized at a scale, counted from 1."""
        height, width = canvas_size(self.sizes[scale - 1], self.margin)
        return height * width

    def remaining_s(self, scale: int, step: int) -> float:
        """Return the estimated seconds left."""
        if self.time_limit_s is not None:
            return max(0.0, self.started_at + self.time_limit_s - self.step_end_times[-1])
        ahead = (self.steps[scale - 1] - step) * self.step_s(scale, scale)
        later = range(scale + 1, len(self.sizes) + 1)
        return ahead + sum(self.steps[i - 1] * self.step_s(scale, i) for i in later)
