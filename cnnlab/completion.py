"""What the shell offers after a verb: groups and their options, and the keys of its configuration."""

import os
from pathlib import Path
from typing import Any

from cnnlab import config


def complete(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """Words that begin with `incomplete`; files as well, where the verb takes some."""
    return completions(ctx.info_name or "train", incomplete)


def completions(verb: str, incomplete: str) -> list[str]:
    """The same for a verb's name. Bash replaces what follows the last `=`; it is given that alone."""
    values = choices(verb)
    key, equals, value = incomplete.partition("=")
    if equals:
        found = [option for option in values.get(key, []) if option.startswith(value)]
        return found if in_bash() else [f"{key}={option}" for option in found]
    keys = sorted(key for key in values if key.startswith(incomplete))
    if len(keys) == 1:  # go on to its values, of which there are two or more: a shell adds no space after `key=` then
        return [f"{keys[0]}={option}" for option in ("", *values[keys[0]])]
    return [f"{key}=" for key in keys]


def choices(verb: str) -> dict[str, list[str]]:
    """Each group with its options, each key of configs/VERB.yaml and of train's default parts with its default; by
    the files alone, since composing takes too long."""
    path = config.CONFIGS / f"{verb}.yaml"
    if not path.exists():
        return {}
    top = read(path)
    chosen = {k: v for entry in top.pop("defaults", []) if isinstance(entry, dict) for k, v in entry.items()}
    known = {key: [str(value)] for key, value in top.items()}
    for group, option in chosen.items():
        body = read(config.CONFIGS / group / f"{option}.yaml")
        own = body.get(group, body)
        known |= {f"{group}.{key}": [str(value)] for key, value in own.items() if key not in ("defaults", "name")}
    return known | {group: config.groups()[group] for group in chosen}


def read(path: Path) -> dict[str, Any]:
    """A configuration file as it stands; nothing where there is none."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def in_bash() -> bool:
    return os.environ.get("_CNNLAB_COMPLETE", "").endswith("bash")


def rejoin() -> None:
    """Bash cuts words at `=` before it asks; put `model = mn` together again in what it passed."""
    if not in_bash() or "COMP_WORDS" not in os.environ:
        return
    between = "\n" if "\n" in os.environ["COMP_WORDS"] else " "  # what Typer's script joins them by
    words, at = os.environ["COMP_WORDS"].split(between), int(os.environ.get("COMP_CWORD", "0"))
    joined: list[str] = []
    place = 0
    for i, word in enumerate(words):
        if joined and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
        if i <= at:
            place = len(joined) - 1
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = between.join(joined), str(place)
