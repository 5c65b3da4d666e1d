"""What goes wrong in words a user can act on: one or two lines, naming the thing and the choices."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from cnnlab.core.quoting import printable


class CnnlabError(Exception):
    """Something failed that is not the fault of the command: exit code 1."""

    exit_code = 1


class UsageError(CnnlabError):
    """The command asks for something that cannot be: exit code 2."""

    exit_code = 2


class DataUnavailable(CnnlabError):
    """Data that are not on this machine, and could not be fetched."""


class WriteFailed(CnnlabError):
    """A disk is full, or a folder may not be written to."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(f"cannot write {printable(str(path))}: {summarize_error(error)}")


class Stopped(CnnlabError):
    """A signal stopped the run: the exit code that a shell gives it, 130 for Ctrl-C and 143 for SIGTERM."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 128 + signal


def summarize_error(error: BaseException) -> str:
    """An error of somebody else's in a few words: what the system says, or its first line, or its kind."""
    return (
        getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    )


def format_error(error: Exception) -> str:
    """An error as a user is told of it; one that nobody foresaw with its kind, on one line."""
    if isinstance(error, CnnlabError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]} (--debug shows where)"


def suggest_nearest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean X?` for the choice that looks most like `name`, or nothing."""
    close = get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def format_unknown_choice(what: str, name: str, choices: Iterable[str]) -> str:
    """A message that names what is wrong and offers what there is."""
    known = sorted(choices)
    return f"{what} {name!r} is not one of {', '.join(known) or '(none)'}{suggest_nearest(name, known)}"
