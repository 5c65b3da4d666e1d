"""Render the HTML templates beside this module; every value is made printable and escaped."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cnnlab.core.quoting import printable


def render_template(name: str, **values: Any) -> str:
    """Return a template of this folder filled with `values`. Only `| safe` in a template keeps a
    value's markup."""
    return get_environment().get_template(name).render(values)


@cache
def get_environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        finalize=make_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def make_printable(value: Any) -> Any:
    """Escape terminal codes and the like in a value; markup stays."""
    return value if hasattr(value, "__html__") else printable(str(value))
