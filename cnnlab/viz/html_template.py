"""Render the HTML templates below this folder; every value is made printable and escaped."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cnnlab.core.display_text import isolate_rtl_words
from cnnlab.core.quoting import printable


def render_template(name: str, **values: Any) -> str:
    """Return the template `name`, a path below this folder, filled with `values`. Markup is kept
    only in a `Markup` value and by `| safe`; `| tojson` cannot end a script."""
    return get_environment().get_template(name).render(values)


@cache
def get_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        finalize=make_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def make_printable(value: Any) -> Any:
    """Escape terminal codes and the like in a value, and isolate its words written from right to
    left; markup stays."""
    return value if hasattr(value, "__html__") else isolate_rtl_words(printable(str(value)))
