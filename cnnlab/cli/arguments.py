"""Parse the arguments of a command into names of files and runs, and overrides for Hydra."""

import re
from pathlib import Path
from typing import Any

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import expand_home, path_exists
from cnnlab.core.quoting import hydra_literal, printable
from cnnlab.core.run_index import is_run

OVERRIDE_PATTERN = re.compile(r"(\+{0,2}[A-Za-z_][\w./@:-]*=|~[A-Za-z_])")

# Of visualize, with null as default.
LIST_KEYS = ("indices", "feature_maps.layers", "activation_maximization.units")
NAME_KEYS = ("saliency.target",)
# Lists whose brackets may be omitted.
STYLE_LIST_KEYS = {
    "layers": "style.layers",
    "style_scale": "style_scale",
    "style_weights": "style_weights",
}
PATH_LIST_KEYS = ("mask",)  # one name, or several with commas
STYLE_KEYS = ("content_layer", "ratio", "strength")  # of configs/style/, typed without a prefix
# Keys whose values are names: of files, folders or runs, and of a new run.
PATH_KEYS = (
    *("against", "content_map", "dataset.root", "figure", "features.weights", "init"),
    *("model.style", "name", "network", "out", "outputs", "reproduce", "resume", "run"),
    *("score", "split"),
)
# With -m a comma separates several.
SWEEP_PATH_KEYS = ("dataset.root", "init", "model.style", "name")
SWEEP_FUNCTION = re.compile(r"(choice|glob|shuffle|sort)\(.*\)")
PLAIN_RUN_NAME = re.compile(r"(?!(true|false|inf|nan|null)$)[a-z_][\w-]*", re.ASCII | re.IGNORECASE)


def split_arguments(
    arguments: list[str] | None, *, multirun: bool = False
) -> tuple[list[str], list[str]]:
    """Return (names of files or runs, overrides for Hydra)."""
    overrides = [
        word
        for word in arguments or []
        if OVERRIDE_PATTERN.match(word) and not path_exists(Path(word))
    ]
    return [word for word in arguments or [] if word not in overrides], [
        quote_path_override(word, multirun=multirun) for word in overrides
    ]


def split_overrides(
    arguments: list[str] | None, see: str = "", *, multirun: bool = False
) -> list[str]:
    """Return the overrides of a command that takes nothing else. Raises UsageError for names."""
    names, overrides = split_arguments(arguments, multirun=multirun)
    if names:
        raise UsageError(f"{names[0]!r} is not KEY=VALUE; for a network type model={names[0]}{see}")
    return overrides


def quote_path_override(word: str, *, multirun: bool = False) -> str:
    """Return `key=path` with the path quoted for Hydra, and a leading `~` expanded.

    What is quoted already and null stay as they are. In a sweep, some keys take several paths
    separated by commas, each of which is quoted.
    """
    key, _, value = word.partition("=")
    if value.startswith("~/"):
        return f"{key}={hydra_literal(str(expand_home(value)))}"
    if key not in PATH_KEYS or "${" in value:
        return word
    if multirun and key in SWEEP_PATH_KEYS and not path_exists(Path(value)):
        is_one = value[:1] in ("'", '"', "[", "{") or SWEEP_FUNCTION.fullmatch(value)
        parts = [value] if is_one else value.split(",")
        return f"{key}={','.join(quote_path(part, key) for part in parts)}"
    return f"{key}={quote_path(value, key)}"


def quote_path(value: str, key: str) -> str:
    """Return one value of a path key as Hydra takes it literally."""
    is_literal = value in ("", "null") or value.isspace() or value[:1] in ("'", '"', "[", "{")
    if is_literal or SWEEP_FUNCTION.fullmatch(value):
        return value
    return value if key == "name" and PLAIN_RUN_NAME.fullmatch(value) else hydra_literal(value)


def quote_path_list(value: str) -> str:
    """Return `a.png`, `a.png,b.png` or `[a.png,b.png]` with each path quoted for Hydra.

    A comma is part of a name where a file has that name.
    """
    is_list = value.startswith("[") and value.endswith("]")
    is_quoted = value.lstrip("[ ")[:1] in ("'", '"')
    if is_quoted or "${" in value or value in ("", "null", "[]"):
        return value
    if not is_list and ("," not in value or path_exists(Path(value))):
        return hydra_literal(value)
    names = (value[1:-1] if is_list else value).split(",")
    return f"[{','.join(hydra_literal(str(expand_home(name.strip()))) for name in names)}]"


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


def qualify_style_image(words: list[str] | None) -> list[str]:
    """Return a training's words with `style=FILE` as `model.style=FILE`.

    Raises UsageError where another model is trained.
    """
    if words is None or not any(word.startswith("style=") for word in words):
        return words or []
    if not any(word.startswith("model=style_network") for word in words):
        style = next(word for word in words if word.startswith("style="))
        raise UsageError(
            f"{style} is of style networks only\n"
            f"to train one: cnnlab train model=style_network {style}"
        )
    return [f"model.{word}" if word.startswith("style=") else word for word in words]


def name_stylize_images(names: list[str], *, must_exist: bool) -> list[str]:
    """Return the overrides of a content image and of style images, or of a network in their place.

    `must_exist`: raise CnnlabError for a file that does not, before torch is imported.
    """
    has_network = len(names) == 2 and names_network(names[1])
    files = names[:1] if has_network else names
    missing = [name for name in files if not path_exists(Path(name))]
    if missing and must_exist:
        raise CnnlabError(f"no file {printable(missing[0])}")
    words = [f"content={hydra_literal(name)}" for name in names[:1]]
    if has_network:
        return [*words, f"network={hydra_literal(names[1])}"]
    styles = ",".join(map(hydra_literal, names[1:]))
    return [*words, *([f"styles=[{styles}]"] if styles else [])]


def names_network(name: str) -> bool:
    """Return whether a name in place of a style image is of a style network: a run's folder, last,
    or a checkpoint's file."""
    is_alias = name == "last" and not path_exists(Path(name))
    return is_alias or name.endswith(".safetensors") or is_run(Path(name))


def qualify_style_override(word: str) -> str:
    """Return `strength=1` as `style.strength=1`, `features=vgg19` as its name, times quoted."""
    key, equals, value = word.partition("=")
    if key in PATH_LIST_KEYS:
        return f"{key}={quote_path_list(value)}"
    if path_of := STYLE_LIST_KEYS.get(key):
        return (
            f"{path_of}=[{value}]"
            if "," in value and value[:1] not in ("[", "'", '"')
            else f"{path_of}={value}"
        )
    if key in STYLE_KEYS:
        return f"style.{word}"
    if key == "explore" and value[:1] not in ("", "[", "'", '"'):
        raise UsageError(f"{printable(word)} is given as a flag\ntype --explore {printable(value)}")
    if key == "features":
        return f"features.name{equals}{value}"
    is_literal = key != "time" or value in ("", "null") or value[0] in ("'", '"')
    return word if is_literal else f"{key}={hydra_literal(value)}"


def qualify_explored_values(word: str) -> str:
    """Return `strength=0.5,0.8` as `style.strength=0.5,0.8`, the key as `--explore` takes it."""
    key, equals, values = word.partition("=")
    names = {**STYLE_LIST_KEYS, **{name: f"style.{name}" for name in STYLE_KEYS}}
    names["features"] = "features.name"
    return f"{names.get(key, key) if equals else key}{equals}{values}"
