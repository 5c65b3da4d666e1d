"""Parse the arguments of a command into names of files and runs, and overrides for Hydra."""

import re
from pathlib import Path
from typing import Any

from cnnlab.core.errors import UsageError
from cnnlab.core.files import path_exists
from cnnlab.core.quoting import hydra_literal

OVERRIDE_PATTERN = re.compile(r"(\+{0,2}[A-Za-z_][\w./@:-]*=|~[A-Za-z_])")

# Of visualize, with null as default.
LIST_KEYS = ("indices", "feature_maps.layers", "activation_maximization.units")
NAME_KEYS = ("saliency.target",)
# Lists whose brackets may be omitted.
STYLE_LIST_KEYS = {"layers": "style.layers", "style_weights": "style_weights"}
STYLE_KEYS = ("content_layer", "ratio", "strength")  # of configs/style/, typed without a prefix
# Keys whose values are files, folders or runs.
PATH_KEYS = (
    *(
        "against",
        "dataset.root",
        "figure",
        "features.weights",
        "init",
        "out",
        "outputs",
        "reproduce",
        "resume",
        "run",
    ),
    *("score", "split"),
)
SINGLE_PATH_KEYS = ("features.weights", "out", "reproduce", "score")  # a comma in them is a comma


def split_arguments(arguments: list[str] | None) -> tuple[list[str], list[str]]:
    """Return (names of files or runs, overrides for Hydra)."""
    overrides = [
        word
        for word in arguments or []
        if OVERRIDE_PATTERN.match(word) and not path_exists(Path(word))
    ]
    return [word for word in arguments or [] if word not in overrides], [
        quote_path_override(word) for word in overrides
    ]


def split_overrides(arguments: list[str] | None, see: str = "") -> list[str]:
    """Return the overrides of a command that takes nothing else. Raises UsageError for names."""
    names, overrides = split_arguments(arguments)
    if names:
        raise UsageError(f"{names[0]!r} is not KEY=VALUE; for a network type model={names[0]}{see}")
    return overrides


def quote_path_override(word: str) -> str:
    """Return `key=path` with the path quoted for Hydra, and a leading `~` expanded.

    What is quoted already, null, and several paths separated by commas stay as they are.
    """
    key, _, value = word.partition("=")
    if value.startswith("~/"):
        return f"{key}={hydra_literal(str(Path(value).expanduser()))}"
    has_commas = "," in value and key not in SINGLE_PATH_KEYS and not path_exists(Path(value))
    is_list = has_commas or value[:1] in ("'", '"', "[", "{")
    if key not in PATH_KEYS or value in ("", "null") or value.isspace() or is_list or "${" in value:
        return word
    return f"{key}={hydra_literal(value)}"


def qualify_override(word: str, group: str, defaults: dict[str, Any]) -> str:
    """Return a visualizer's `key=a,b` as `group.key=[a,b]`.

    `group`: the only visualizer named, or an empty string. `defaults`: visualize.yaml.
    """
    key, equals, value = word.partition("=")
    path = f"{group}.{key}" if group and key in defaults[group] else key
    outer, _, inner = path.partition(".")
    default = (
        defaults.get(outer, {}).get(inner)
        if inner and isinstance(defaults.get(outer), dict)
        else defaults.get(path)
    )
    is_list = isinstance(default, list) or path in LIST_KEYS
    if is_list and value not in ("", "null") and not value.startswith("["):
        parts = [value] if value[0] in ("'", '"') else value.split(",")
        value = f"[{','.join(map(quote_name, parts))}]"
    elif path in NAME_KEYS:
        value = quote_name(value)
    return f"{path}{equals}{value}"


def quote_name(value: str) -> str:
    """Return a name quoted for Hydra if it needs it; numbers and null stay as they are."""
    return (
        value if re.fullmatch(r"[\w.-]*|null|'.*|\".*", value, re.ASCII) else hydra_literal(value)
    )


def qualify_style_override(word: str) -> str:
    """Return `strength=1` as `style.strength=1`, `features=vgg19` as its name, times quoted."""
    key, equals, value = word.partition("=")
    if path_of := STYLE_LIST_KEYS.get(key):
        return (
            f"{path_of}=[{value}]"
            if "," in value and value[:1] not in ("[", "'", '"')
            else f"{path_of}={value}"
        )
    if key in STYLE_KEYS:
        return f"style.{word}"
    if key == "features":
        return f"features.name{equals}{value}"
    is_literal = key != "time" or value in ("", "null") or value[0] in ("'", '"')
    return word if is_literal else f"{key}={hydra_literal(value)}"
