"""A configuration key is declared once, as a dataclass field with type, range, unit and meaning.

`epochs: Annotated[int, Key("passes over the training images", minimum=1)]` is the source of the
range check, of what `cnnlab VERB -h` and the comments in configs/ say, and of three flags: whether
the key may change when a run resumes, whether runs that differ in it are compared by it, and
whether a stylized image records it.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

MAX_THREADS = 1024  # torch crashes where the system refuses to start a thread


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values that a number may have; None: no bound. Numbers are finite in any case."""

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None

    def contains(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """`at least 1`, `between 0 and 1`, `at least 0 and below 2^40`; empty without bounds."""
        pairs = ((self.minimum, self.maximum), (self.above, self.below))
        for low, high in pairs:
            if low is not None and high is not None:
                return f"between {format_bound(low)} and {format_bound(high)}"
        bounds = {
            "at least": self.minimum,
            "above": self.above,
            "at most": self.maximum,
            "below": self.below,
        }
        given = {word: bound for word, bound in bounds.items() if bound is not None}
        return " and ".join(f"{word} {format_bound(bound)}" for word, bound in given.items())


@dataclass(frozen=True, kw_only=True)
class KeyInfo:
    """What is declared of a key beside its type and its range."""

    meaning: str
    unit: str
    range: Range
    can_change_on_resume: bool
    is_compared: bool
    is_recorded: bool

    @property
    def help(self) -> str:
        """The unit, the meaning and the range, as `cnnlab VERB -h` prints them."""
        allowed = f"; {self.range}" if str(self.range) else ""
        return f"{self.unit} {self.meaning}{allowed}".lstrip()


def Key(
    meaning: str,
    *,
    unit: str = "",
    resume: bool = False,
    compared: bool = True,
    recorded: bool = True,
    **bounds: float,
) -> KeyInfo:
    """Declare a key.

    `resume`: it may change when a run resumes, since no number that the run has computed depends on
    it. `compared`: runs that differ in it are different experiments. `recorded`: a stylized image
    holds it. `bounds`: those of `Range`.
    """
    return KeyInfo(
        meaning=meaning,
        unit=unit,
        range=Range(**bounds),
        can_change_on_resume=resume,
        is_compared=compared,
        is_recorded=recorded,
    )


class Settings:
    """A dataclass of keys. Raises ValueError, naming the key, for a value out of range."""

    def __post_init__(self) -> None:
        for name, info in iterate_keys(type(self)):
            check_range(name, getattr(self, name), info.range)


def iterate_keys(settings: Callable[..., Any]) -> Iterator[tuple[str, KeyInfo]]:
    """Yield the declared keys of a settings class, or of a builder's parameters, in order."""
    for name, parameter in inspect.signature(settings).parameters.items():
        if get_origin(parameter.annotation) is Annotated:
            yield from ((name, info) for info in get_args(parameter.annotation)[1:])


def select_keys(settings: Callable[..., Any], flag: str) -> tuple[str, ...]:
    """Return the keys with a flag: `select_keys(TrainSettings, "is_compared")`."""
    return tuple(name for name, info in iterate_keys(settings) if getattr(info, flag))


def check_range(name: str, value: Any, allowed: Range) -> None:
    """Raise ValueError for a number, or one in a list, out of range; other values pass."""
    values, each = (value, " each") if isinstance(value, list) else ([value], "")
    for number in values:
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if is_number and str(allowed) and not allowed.contains(number):
            raise ValueError(f"{name} must be {allowed}{each}, not {value}")


def format_bound(bound: float) -> str:
    """`0.5`, `100`, and `2^40` for large powers of two."""
    exponent = math.log2(bound) if bound > 1 << 20 else 0.5
    return f"2^{exponent:.0f}" if exponent.is_integer() else f"{bound:g}"
