"""What the shell offers after a verb: groups and their options, and the keys of its configuration."""

import os
from typing import Any

from cnnlab import config


def complete(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """Words that begin with `incomplete`; files as well, where the verb takes some."""
    return completions(ctx.info_name or "train", incomplete)


def completions(verb: str, incomplete: str) -> list[str]:
    """The same for a verb's name. Bash replaces what follows the last `=`; it is given that alone."""
    groups = config.groups() if verb == "train" else {}
    if "=" in incomplete:
        key, _, value = incomplete.partition("=")
        found = [f"{key}={option}" for option in groups.get(key, []) if option.startswith(value)]
        return [word.partition("=")[2] for word in found] if in_bash() else found
    words = [f"{word}=" for word in (*groups, *settings(verb))]
    return sorted({word for word in words if word.startswith(incomplete)})


def settings(verb: str) -> list[str]:
    """The keys of configs/VERB.yaml, and of train's default parts, by the files alone: composing takes too long."""
    import yaml

    path = config.CONFIGS / f"{verb}.yaml"
    if not path.exists():
        return []
    top = yaml.safe_load(path.read_text(encoding="utf-8"))
    chosen = {k: v for entry in top.pop("defaults", []) if isinstance(entry, dict) for k, v in entry.items()}
    return [*top, *(f"{group}.{key}" for group, option in chosen.items() for key in keys_of(group, option))]


def keys_of(group: str, option: str) -> list[str]:
    import yaml

    path = config.CONFIGS / group / f"{option}.yaml"
    known = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    own = known.get(group, known) if isinstance(known, dict) else {}
    return [key for key in own if key not in ("defaults", "name")]


def in_bash() -> bool:
    return os.environ.get("_CNNLAB_COMPLETE", "").endswith("bash")


def rejoin() -> None:
    """Bash cuts words at `=` before it asks; put `model = mn` together again in what it passed."""
    if not in_bash() or "COMP_WORDS" not in os.environ:
        return
    words, at = os.environ["COMP_WORDS"].split(" "), int(os.environ.get("COMP_CWORD", "0"))
    joined: list[str] = []
    for i, word in enumerate(words):
        glued = joined and (word == "=" or joined[-1].endswith("=")) and i > 1
        if glued:
            joined[-1] += word
            at -= i <= int(os.environ.get("COMP_CWORD", "0"))
        else:
            joined.append(word)
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = " ".join(joined), str(at)
