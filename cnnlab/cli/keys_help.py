"""The `Keys` section of `cnnlab VERB -h`, generated from the settings and the YAML defaults."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from typer.core import TyperCommand

from cnnlab.cli.completion import format_default
from cnnlab.config import read_task_defaults
from cnnlab.core.keys import Settings, iterate_keys


class VerbCommand(TyperCommand):
    """A command whose help ends with its configuration keys."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the epilog, then every key with its default and its meaning."""
        super().format_epilog(ctx, formatter)
        task = str(ctx.info_name).replace("-", "_")
        with formatter.section("Keys"):
            formatter.write_dl(list(list_key_rows(task)))
        if task in ("bench", "describe", "lr_find"):
            formatter.write_paragraph()
            formatter.write_text("and the keys of `cnnlab train`")


def find_settings_class(task: str) -> type[Settings]:
    """Return the settings class of a task: the first that its `settings` module defines."""
    module = import_module(f"cnnlab.tasks.{task}.settings")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return next(value for value in classes if value.__module__ == module.__name__)


def list_key_rows(task: str) -> Iterator[tuple[str, str]]:
    """Yield (`key=default`, help) for each declared key, (`group.`, its keys) for nested ones."""
    defaults = read_task_defaults(task)
    declared = dict(iterate_keys(find_settings_class(task)))
    for name, info in declared.items():
        yield f"{name}={format_value(defaults.get(name))}", info.help
    for name, value in defaults.items():
        if isinstance(value, dict) and value:
            nested = (f"{key}={format_value(default)}" for key, default in value.items())
            yield f"{name}.", ", ".join(nested)


def format_value(value: Any) -> str:
    """Return a default as it is typed: lists in brackets without spaces."""
    if isinstance(value, list):
        return f"[{','.join(map(format_default, value))}]"
    return format_default(value)
