"""How long a transfer may take, in steps or seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from time import monotonic

from cnnlab.style.scales import Size

SETUP = 0.8  # steps that it takes to look at as many pixels as the picture's


@dataclass
class Budget:
    """When each scale has had enough: so many steps; or, where there is a time, its share of it. From when painting
    begins each scale may take until half of what the next may, the last until `seconds` after `began`, less what saving
    takes; all but the last are content with their steps before that. `beside`: for each size the paintings' pixels, as
    a share of the picture's."""

    sizes: Sequence[Size]
    steps: Sequence[int]
    beside: Sequence[float]
    seconds: float | None = None
    began: float = field(default_factory=monotonic)  # the command, on the monotonic clock
    saving: float = 0.0  # seconds
    ready: float = field(default_factory=monotonic)  # and the painting
    taken: list[int] = field(default_factory=list)  # steps at each scale so far
    ends: list[float] = field(default_factory=list)  # of this scale's steps

    def enough(self, scale: int, step: int) -> bool:
        """Asked after each step; both count from 1."""
        self.taken[scale - 1 :] = [step]
        self.ends = [*(self.ends if step > 1 else []), monotonic()]
        last = scale == len(self.sizes)
        if self.seconds is None or not last:
            return step >= self.steps[scale - 1] or self.over(scale)
        return self.over(scale)

    @property
    def typical(self) -> float:
        """Seconds of a step at this scale: the median of the last nine, which the search along a line lengthens at
        times."""
        took = [after - before for before, after in pairwise(self.ends[-10:])]
        return median(took) if took else 0.0

    def until(self, scale: int) -> float:
        """When a scale's time is over. Half a step is kept to look at the picture once more."""
        if self.seconds is None:
            return float("inf")
        end = self.began + self.seconds - self.saving - 0.5 * self.typical
        return self.ready + (end - self.ready) * 2.0 ** (scale - len(self.sizes))

    def over(self, scale: int) -> bool:
        """Whether a scale's time does not hold another step."""
        return self.ends[-1] + self.typical > self.until(scale)

    def holds(self, scale: int) -> bool:
        """Whether there is time to begin with a scale: for one step, and to set up its loss. That looks at all pictures
        once, which took 0.5 to 0.6 of a step for as many pixels as the picture's, and the first time a little more."""
        if self.seconds is None or scale > len(self.sizes):
            return True
        before, after = (self.sizes[i][0] * self.sizes[i][1] for i in (scale - 2, scale - 1))
        steps = 1 + SETUP * (1 + self.beside[scale - 1])
        return self.ends[-1] + steps * self.typical * after / before < self.until(len(self.sizes))

    def left(self, scale: int, step: int) -> float:
        """Seconds to go, steps taking as long as the pixels they have."""
        if self.seconds is not None:
            return max(0.0, self.began + self.seconds - self.ends[-1])
        pixels = [height * width for height, width in self.sizes]
        ahead = [(self.steps[scale - 1] - step) * pixels[scale - 1]]
        ahead += [n * p for n, p in zip(self.steps[scale:], pixels[scale:], strict=True)]
        return self.typical * sum(ahead) / pixels[scale - 1]
