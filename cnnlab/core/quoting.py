"""Quote names from outside for printing on one line, for Hydra and for a shell."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

COMMAND_VARIABLE = "CNNLAB_COMMAND"  # the command line, for a sweep's workers


def printable(text: str) -> str:
    """Return a name on one line: newlines, terminal codes and the like are escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def hydra_literal(text: str) -> str:
    """Return a text, such as a file's name, as a Hydra value that is taken literally."""
    text = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", text)  # not interpolated
    quoted = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), text)
    return f"'{quoted}'"


def as_override(key: str, value: str) -> str:
    """Return `key=value` for a shell and Hydra, quoted only where they need it."""
    safe = re.fullmatch(r"[\w./-]+", value, re.ASCII)
    return f"{key}={value}" if safe else shlex.quote(f"{key}={hydra_literal(value)}")


def quote_argument(path: str) -> str:
    """Return a path for a shell that a command takes as one: no flag, and no home folder."""
    return shlex.quote(f"./{path}" if path[:1] in ("-", "~") else path)


def get_command_line() -> list[str]:
    """Return the command line from the word cnnlab on.

    It is read from sys.orig_argv, since sys.argv holds Hydra's arguments meanwhile.
    """
    if launched_as := os.environ.get(COMMAND_VARIABLE):
        return [str(word) for word in json.loads(launched_as)]
    words = sys.orig_argv
    for index, word in enumerate(words):
        if Path(word).name == "cnnlab":
            return ["cnnlab", *words[index + 1 :]]
    return list(words)
