"""What is typed after a verb -> names of files and runs, and words as Hydra takes them."""

import re
from pathlib import Path
from typing import Any

from cnnlab.core.files import exists
from cnnlab.core.quoting import literal

OVERRIDE = re.compile(r"(\+{0,2}[A-Za-z_][\w./@:-]*=|~[A-Za-z_])")

LISTS = ("indices", "features.layers", "dream.units")  # of visualize, whose defaults are null
NAMES = ("saliency.target",)
# Lists, whose brackets may be left out.
STYLE_LISTS = {"layers": "style.layers", "style_weights": "style_weights"}
STYLE_KEYS = ("content_layer", "ratio", "strength")  # of configs/style/, given bare
# Keys whose values are files, folders or runs.
PATHS = (
    *("again", "against", "dataset.root", "drawing", "features.weights", "init", "out", "outputs", "resume", "run"),
    *("score", "split"),
)
SINGLE = ("again", "features.weights", "out", "score")  # a comma in them is a comma


def split(given: list[str] | None) -> tuple[list[str], list[str]]:
    """Words of the command line -> (names of files or runs, Hydra's overrides)."""
    overrides = [word for word in given or [] if OVERRIDE.match(word) and not exists(Path(word))]
    return [word for word in given or [] if word not in overrides], [path_word(word) for word in overrides]


def path_word(word: str) -> str:
    """`key=path` as Hydra takes it: `~`, which no shell expands there, is the user's folder; and whatever else is in a
    path means itself, but for what is quoted already, null, or several with commas between them."""
    key, _, value = word.partition("=")
    if value.startswith("~/"):
        return f"{key}={literal(str(Path(value).expanduser()))}"
    listed = "," in value and key not in SINGLE and not exists(Path(value))
    several = listed or value[:1] in ("'", '"', "[", "{")
    if key not in PATHS or value in ("", "null") or value.isspace() or several or "${" in value:
        return word
    return f"{key}={literal(value)}"


def bare(word: str, group: str, own: dict[str, Any]) -> str:
    """A visualizer's own `key=a,b` as Hydra has it, `group.key=[a,b]`: where it is named alone its keys go without its
    name, and lists without brackets."""
    key, equals, value = word.partition("=")
    path = f"{group}.{key}" if group and key in own[group] else key
    outer, _, inner = path.partition(".")
    default = own.get(outer, {}).get(inner) if inner and isinstance(own.get(outer), dict) else own.get(path)
    several = isinstance(default, list) or path in LISTS
    if several and value not in ("", "null") and not value.startswith("["):
        parts = [value] if value[0] in ("'", '"') else value.split(",")
        value = f"[{','.join(map(quoted, parts))}]"
    elif path in NAMES:
        value = quoted(value)
    return f"{path}{equals}{value}"


def quoted(value: str) -> str:
    """A name with more than letters and digits in it, as Hydra takes it for itself; a number stays one."""
    return value if re.fullmatch(r"[\w.-]*|null|'.*|\".*", value, re.ASCII) else literal(value)


def nested(word: str) -> str:
    """`strength=1`, a style's own key, as `style.strength=1`; `features=vgg19` as its name. Times may go bare."""
    key, equals, value = word.partition("=")
    if path_of := STYLE_LISTS.get(key):
        return f"{path_of}=[{value}]" if "," in value and value[:1] not in ("[", "'", '"') else f"{path_of}={value}"
    if key in STYLE_KEYS:
        return f"style.{word}"
    if key == "features":
        return f"features.name{equals}{value}"
    plainly = key != "time" or value in ("", "null") or value[0] in ("'", '"')
    return word if plainly else f"{key}={literal(value)}"
