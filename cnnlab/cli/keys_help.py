"""The `Keys` section of `cnnlab VERB -h`, generated from the settings and the YAML defaults."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from typer.core import TyperCommand

from cnnlab.cli.completion import format_default
from cnnlab.config import list_keys, read_task_defaults
from cnnlab.core.errors import UsageError
from cnnlab.core.keys import Settings, iterate_keys


class VerbCommand(TyperCommand):
    """A command whose help ends with its configuration keys."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line. Raises UsageError for a key that is typed as a flag,
        with what to type."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # the class is private to typer
            flag = str(getattr(error, "option_name", ""))
            task = str(ctx.info_name).replace("-", "_")
            if override := format_flag_as_override(flag, words, list_keys(task)):
                raise UsageError(f"{flag} is a key, not a flag\ntype {override}") from error
            raise

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the epilog, then every key with its default and its meaning."""
        super().format_epilog(ctx, formatter)
        task = str(ctx.info_name).replace("-", "_")
        with formatter.section("Keys"):
            formatter.write_dl(list(list_key_rows(task)))
        if task in ("bench", "describe", "lr_find"):
            formatter.write_paragraph()
            formatter.write_text("and the keys of `cnnlab train`")


def format_flag_as_override(flag: str, words: list[str], keys: list[str]) -> str:
    """Return `epochs=3` for the flag `--epochs` and the words `--epochs 3`, or `--epochs=3`; an
    empty string if there is no such key."""
    name = flag.lstrip("-").replace("-", "_")
    known = sorted(key for key in keys if key == name or key.endswith(f".{name}"))
    if not name or not known:
        return ""
    index = next(i for i, word in enumerate(words) if word.partition("=")[0] == flag)
    _, equals, value = words[index].partition("=")
    following = "".join(words[index + 1 : index + 2])
    return f"{known[0]}={value if equals else following or 'VALUE'}"


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
