"""Names that come from outside, made fit to be printed on one line, or to be typed."""

import re
import shlex


def plain(text: str) -> str:
    """A file's or class's name on one line: newlines, terminal codes and the like are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def literal(text: str) -> str:
    """A text, such as a file's name, as a Hydra value that means just that, whatever is in it."""
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", text)  # no interpolation either
    quoted = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{quoted}'"


def typed(key: str, value: str) -> str:
    """`key=value` as a shell and then Hydra read it, quoted only where they need it."""
    safe = re.fullmatch(r"[\w./-]+", value, re.ASCII)
    return f"{key}={value}" if safe else shlex.quote(f"{key}={literal(value)}")
