"""What is typed after a verb -> names of files and runs, and words as Hydra takes them."""

import re
from pathlib import Path
from typing import Any

from cnnlab.core.files import path_exists
from cnnlab.core.quoting import hydra_literal

OVERRIDE_PATTERN = re.compile(r"(\+{0,2}[A-Za-z_][\w./@:-]*=|~[A-Za-z_])")

LIST_KEYS = ("indices", "features.layers", "dream.units")  # of visualize, whose defaults are null
NAME_KEYS = ("saliency.target",)
# Lists, whose brackets may be left out.
STYLE_LIST_KEYS = {"layers": "style.layers", "style_weights": "style_weights"}
STYLE_KEYS = ("content_layer", "ratio", "strength")  # of configs/style/, given bare
# Keys whose values are files, folders or runs.
PATH_KEYS = (
    *(
        "again",
        "against",
        "dataset.root",
        "drawing",
        "features.weights",
        "init",
        "out",
        "outputs",
        "resume",
        "run",
    ),
    *("score", "split"),
)
SINGLE_PATH_KEYS = ("again", "features.weights", "out", "score")  # a comma in them is a comma


def split_arguments(given: list[str] | None) -> tuple[list[str], list[str]]:
    """Words of the command line -> (names of files or runs, Hydra's overrides)."""
    overrides = [
        word for word in given or [] if OVERRIDE_PATTERN.match(word) and not path_exists(Path(word))
    ]
    return [word for word in given or [] if word not in overrides], [
        quote_path_override(word) for word in overrides
    ]


def quote_path_override(word: str) -> str:
    """`key=path` as Hydra takes it: `~`, which no shell expands there, is the user's folder; and whatever else is in a
    path means itself, but for what is quoted already, null, or several with commas between them."""
    key, _, value = word.partition("=")
    if value.startswith("~/"):
        return f"{key}={hydra_literal(str(Path(value).expanduser()))}"
    listed = "," in value and key not in SINGLE_PATH_KEYS and not path_exists(Path(value))
    several = listed or value[:1] in ("'", '"', "[", "{")
    if key not in PATH_KEYS or value in ("", "null") or value.isspace() or several or "${" in value:
        return word
    return f"{key}={hydra_literal(value)}"


def qualify_override(word: str, group: str, own: dict[str, Any]) -> str:
    """A visualizer's own `key=a,b` as Hydra has it, `group.key=[a,b]`: where it is named alone its keys go without its
    name, and lists without brackets."""
    key, equals, value = word.partition("=")
    path = f"{group}.{key}" if group and key in own[group] else key
    outer, _, inner = path.partition(".")
    default = (
        own.get(outer, {}).get(inner)
        if inner and isinstance(own.get(outer), dict)
        else own.get(path)
    )
    several = isinstance(default, list) or path in LIST_KEYS
    if several and value not in ("", "null") and not value.startswith("["):
        parts = [value] if value[0] in ("'", '"') else value.split(",")
        value = f"[{','.join(map(quote_name, parts))}]"
    elif path in NAME_KEYS:
        value = quote_name(value)
    return f"{path}{equals}{value}"


def quote_name(value: str) -> str:
    """A name with more than letters and digits in it, as Hydra takes it for itself; a number stays one."""
    return (
        value if re.fullmatch(r"[\w.-]*|null|'.*|\".*", value, re.ASCII) else hydra_literal(value)
    )


def qualify_style_override(word: str) -> str:
    """`strength=1`, a style's own key, as `style.strength=1`; `features=vgg19` as its name. Times may go bare."""
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
    plainly = key != "time" or value in ("", "null") or value[0] in ("'", '"')
    return word if plainly else f"{key}={hydra_literal(value)}"
