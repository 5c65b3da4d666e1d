"""Names that come from outside, made fit to be printed on one line, or to be typed."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

COMMAND_VARIABLE = "CNNLAB_COMMAND"  # what was typed, told to the processes of a sweep


def printable(text: str) -> str:
    """A file's or class's name on one line: newlines, terminal codes and the like are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def hydra_literal(text: str) -> str:
    """A text, such as a file's name, as a Hydra value that means just that, whatever is in it."""
    text = re.sub(
        r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text
    )  # no interpolation either
    quoted = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{quoted}'"


def as_override(key: str, value: str) -> str:
    """`key=value` as a shell and then Hydra read it, quoted only where they need it."""
    safe = re.fullmatch(r"[\w./-]+", value, re.ASCII)
    return f"{key}={value}" if safe else shlex.quote(f"{key}={hydra_literal(value)}")


def get_command_line() -> list[str]:
    """What was typed: sys.orig_argv from the word cnnlab on, since Hydra needs sys.argv for itself."""
    if given := os.environ.get(COMMAND_VARIABLE):
        return [str(word) for word in json.loads(given)]
    words = sys.orig_argv
    for at, word in enumerate(words):
        if Path(word).name == "cnnlab":
            return ["cnnlab", *words[at + 1 :]]
    return list(words)
