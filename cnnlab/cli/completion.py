"""Complete groups, their options and configuration keys in the shell."""

import os
from pathlib import Path
from typing import Any

from cnnlab import config


def complete_argument(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """Return the completions of `incomplete`; called by Typer, which adds files."""
    return list_completions(ctx.info_name or "train", incomplete)


def list_completions(verb: str, incomplete: str) -> list[str]:
    """Return the completions of `incomplete` after a command's name."""
    values = list_choices(verb)
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={option}" for option in values.get(key, []) if option.startswith(value)]
    keys = sorted(key for key in values if key.startswith(incomplete))
    if len(keys) == 1:  # offer its values too: after a single completion a shell adds a space
        return [f"{keys[0]}={option}" for option in ("", *values[keys[0]])]
    return [f"{key}=" for key in keys]


def list_choices(verb: str) -> dict[str, list[str]]:
    """Return each group with its options, and each key of configs/VERB.yaml with its default.

    The files are read without Hydra, since composing takes too long.
    """
    top = read_config_file(config.CONFIG_DIR / f"{verb.replace('-', '_')}.yaml")
    defaults = top.pop("defaults", [])
    choices: dict[str, list[str]] = {}
    for other in (entry for entry in defaults if isinstance(entry, str) and entry != "_self_"):
        choices |= list_choices(other)
    choices |= {key: [format_default(value)] for key, value in top.items()}
    chosen = {
        group: option
        for entry in defaults
        if isinstance(entry, dict)
        for group, option in entry.items()
        if not group.startswith("optional ")
    }
    for group, option in chosen.items():
        content = read_config_file(config.CONFIG_DIR / group / f"{option}.yaml")
        choices |= {
            f"{group}.{key}": [format_default(value)]
            for key, value in content.get(group, content).items()
            if key not in ("defaults", "name")
        }
    return choices | {group: config.list_groups()[group] for group in chosen}


def format_default(value: Any) -> str:
    """Return a default as it is typed."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_config_file(path: Path) -> dict[str, Any]:
    """Return a configuration file without its groups; empty where there is none."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def complete_bash_value() -> bool:
    """Print the values of `key=` where Bash completes a value; return whether it does.

    Bash splits words at `=` and replaces only what follows it; Typer handles neither.
    """
    if os.environ.get("_CNNLAB_COMPLETE") != "complete_bash" or "COMP_WORDS" not in os.environ:
        return False
    text = os.environ["COMP_WORDS"]
    words = text.split("\n" if "\n" in text else " ")[: int(os.environ.get("COMP_CWORD", "0")) + 1]
    if len(words) > 3 and words[-1] == "=":
        words.append("")
    if len(words) < 5 or words[-2] != "=":
        return False
    options = list_choices(words[1]).get(words[-3], [])
    print("\n".join(option for option in options if option.startswith(words[-1])))
    return True
