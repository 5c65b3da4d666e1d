"""How large, how long: a transfer's sizes, and when one has had enough."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

Size = tuple[int, int]  # height, width


def fitted(own: Size, longest: int) -> Size:
    """A picture's size with its longer side at most `longest` pixels; none is enlarged."""
    factor = min(1.0, longest / max(own))
    return max(1, round(own[0] * factor)), max(1, round(own[1] * factor))


def painting_size(own: Size, size: Size, scale: float) -> Size:
    """A painting made as large in area as a picture, times `scale` a side, and no larger than it is."""
    factor = min(1.0, scale * (size[0] * size[1] / (own[0] * own[1])) ** 0.5)
    return max(1, round(own[0] * factor)), max(1, round(own[1] * factor))


def sizes_to(size: Size, coarsest: int) -> list[Size]:
    """A picture's size and those before it, each smaller by the square root of 2, down to the last whose longer side
    has `coarsest` pixels or more; smallest first."""
    found, factor = [size], 2**-0.5
    while max(size) * factor >= coarsest:
        found.append((max(1, round(size[0] * factor)), max(1, round(size[1] * factor))))
        factor *= 2**-0.5
    return found[::-1]


@dataclass
class Budget:
    """When each scale has had enough: so many steps; or, where there is a time, its share of it. Each scale may take
    until half of what the next may, the last until `seconds` from `began` (on the monotonic clock) less `reserve`; all
    but the last are content with their steps before that."""

    sizes: Sequence[Size]
    steps: Sequence[int]
    seconds: float | None = None
    began: float = field(default_factory=monotonic)
    reserve: float = 0.0
    taken: list[int] = field(default_factory=list)  # steps at each scale so far
    asked: float = field(default_factory=monotonic)
    longest: float = 0.0  # seconds of a step at this scale

    def enough(self, scale: int, step: int) -> bool:
        """Asked after each step; both count from 1."""
        took, self.asked = monotonic() - self.asked, monotonic()
        self.longest = took if step <= 2 else max(self.longest, took)  # the first is longer: the loss is set up
        self.taken[scale - 1 :] = [step]
        last = scale == len(self.sizes)
        if self.seconds is None or not last:
            return step >= self.steps[scale - 1] or self.over(scale)
        return self.over(scale)

    def over(self, scale: int) -> bool:
        """Whether a scale's time does not hold another step."""
        if self.seconds is None:
            return False
        until = (self.seconds - self.reserve) * 2.0 ** (scale - len(self.sizes))
        return self.began + until - self.asked < 1.2 * self.longest

    def left(self, scale: int, step: int) -> float:
        """Seconds to go, steps taking as long as the pixels they have."""
        if self.seconds is not None:
            return max(0.0, self.began + self.seconds - self.asked)
        pixels = [height * width for height, width in self.sizes]
        ahead = [(self.steps[scale - 1] - step) * pixels[scale - 1]]
        ahead += [n * p for n, p in zip(self.steps[scale:], pixels[scale:], strict=True)]
        return self.longest * sum(ahead) / pixels[scale - 1]
