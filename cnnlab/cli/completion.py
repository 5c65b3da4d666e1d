"""What the shell offers after a verb: groups and their options, and the keys of its configuration."""

import os
from pathlib import Path
from typing import Any

from cnnlab import config


def complete_argument(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """Words that begin with `incomplete`; files as well, where the verb takes some."""
    return list_completions(ctx.info_name or "train", incomplete)


def list_completions(verb: str, incomplete: str) -> list[str]:
    """The same for a verb's name."""
    values = list_choices(verb)
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={option}" for option in values.get(key, []) if option.startswith(value)]
    keys = sorted(key for key in values if key.startswith(incomplete))
    if (
        len(keys) == 1
    ):  # go on to its values, of which there are two or more: a shell adds no space after `key=` then
        return [f"{keys[0]}={option}" for option in ("", *values[keys[0]])]
    return [f"{key}=" for key in keys]


def list_choices(verb: str) -> dict[str, list[str]]:
    """Each group with its options, each key of configs/VERB.yaml and of train's default parts with its default; by
    the files alone, since composing takes too long."""
    top = read_config_file(config.CONFIG_DIR / f"{verb.replace('-', '_')}.yaml")
    defaults = top.pop("defaults", [])
    named = [entry for entry in defaults if isinstance(entry, dict)]
    chosen = {k: v for entry in named for k, v in entry.items() if not k.startswith("optional ")}
    known: dict[str, list[str]] = {}
    for other in (entry for entry in defaults if isinstance(entry, str) and entry != "_self_"):
        known |= list_choices(other)
    known |= {key: [format_default(value)] for key, value in top.items()}
    for group, option in chosen.items():
        body = read_config_file(config.CONFIG_DIR / group / f"{option}.yaml")
        own = body.get(group, body)
        known |= {
            f"{group}.{key}": [format_default(value)]
            for key, value in own.items()
            if key not in ("defaults", "name")
        }
    return known | {group: config.list_groups()[group] for group in chosen}


def format_default(value: Any) -> str:
    """A default as one would type it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_config_file(path: Path) -> dict[str, Any]:
    """A configuration file as it stands; nothing where there is none."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def complete_bash_value() -> bool:
    """Bash cuts words at `=` before it asks, and replaces what follows the `=` alone; Typer knows of neither. Where the
    word asked about is a value, print the values there are; returns whether that was so."""
    if os.environ.get("_CNNLAB_COMPLETE") != "complete_bash" or "COMP_WORDS" not in os.environ:
        return False
    text = os.environ["COMP_WORDS"]
    words = text.split("\n" if "\n" in text else " ")[: int(os.environ.get("COMP_CWORD", "0")) + 1]
    if len(words) > 3 and words[-1] == "=":
        words.append("")
    if len(words) < 5 or words[-2] != "=":
        return False
    print(
        "\n".join(
            option
            for option in list_choices(words[1]).get(words[-3], [])
            if option.startswith(words[-1])
        )
    )
    return True
