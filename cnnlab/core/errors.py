"""Errors with messages of one or two lines that a user can act on."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from cnnlab.core.quoting import printable


class CnnlabError(Exception):
    """A failure that the command did not cause: exit code 1.

    `can_retry`: whether the same command may succeed another time.
    """

    exit_code = 1
    can_retry = True


class UsageError(CnnlabError):
    """A command that cannot be run as given: exit code 2."""

    exit_code = 2
    can_retry = False


class DataUnavailable(CnnlabError):
    """Data are not on this machine and could not be downloaded."""


class WriteFailed(CnnlabError):
    """A disk is full, or a folder is not writable."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(f"cannot write {printable(str(path))}: {summarize_error(error)}")


class Stopped(CnnlabError):
    """A signal stopped the run. The exit code is the shell's: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 128 + signal


def summarize_error(error: BaseException) -> str:
    """Return a library's error in a few words: the system's text, its first line, or its class."""
    return (
        getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    )


def format_error(error: Exception) -> str:
    """Return an error's message as printed; an unexpected one on one line, with its class."""
    if isinstance(error, CnnlabError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]} (--debug shows where)"


def find_nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return a choice that begins like `name`, punctuation aside, else the most similar one; None
    if none is similar."""
    choices = list(choices)
    start = remove_punctuation(name)
    begun = [choice for choice in choices if start and remove_punctuation(choice).startswith(start)]
    close = begun or get_close_matches(name, choices, n=1, cutoff=0.55)
    return close[0] if close else None


def suggest_nearest(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean X?` for `find_nearest`'s choice, or an empty string."""
    nearest = find_nearest(name, choices)
    return f"; did you mean {nearest}?" if nearest else ""


def remove_punctuation(name: str) -> str:
    """Return the letters and digits of a name, in lower case."""
    return "".join(character for character in name.lower() if character.isalnum())


def format_unknown_choice(what: str, name: str, choices: Iterable[str]) -> str:
    """Return a message that names the unknown choice and lists the valid ones."""
    known = sorted(choices)
    listed = ", ".join(known) or "(none)"
    return f"{what} {name!r} is not one of {listed}{suggest_nearest(name, known)}"
