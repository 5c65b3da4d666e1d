"""Refuse former names of visualizers. The command line reads this before torch is loaded."""

from collections.abc import Iterable

from cnnlab.core.errors import UsageError
from cnnlab.core.renamed_keys import find_new_name


def check_not_renamed(names: Iterable[str]) -> None:
    """Raise UsageError with the new name for a visualizer given under its former name."""
    for name in names:
        if new := find_new_name("visualize", name):
            raise UsageError(f"{name!r} is now named {new}")
