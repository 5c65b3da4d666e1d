"""Tell which overrides and which parts of a configuration file could make Hydra run code.

They ask whether a name could come to mean Hydra's package, so they are stricter than Hydra.
"""

import re
from typing import Any

from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable

MAX_INTERPOLATIONS = 10  # each may multiply the size of the result

# Hydra replaces these within a package's name, so `hyd_group_` in a folder `ra` is `hydra`.
PACKAGE_KEYWORDS = ("_global_", "_group_", "_here_", "_name_")
ALLOWED_KEYWORDS = PACKAGE_KEYWORDS[:3]  # where they are a whole part; `_name_` is a file's name
PLAIN_SEGMENT = r"(?!\.+(?:/|$))[\w.+=-]+"
PLAIN_PATH = re.compile(rf"{PLAIN_SEGMENT}(?:/{PLAIN_SEGMENT})*")  # no absolute one, and no `..`
KEY_INTERPOLATION = re.compile(r"\$\{[\w./@\[\]-]+\}")  # of a key; with a colon it calls a resolver
PLUGIN_GROUP = re.compile(r"hydra/(launcher|sweeper)(/[a-z]\w*)*")
PLUGIN_OPTION = re.compile(r"hydra\.(launcher|sweeper)(\.(?!_)[\w-]+)+")
HYDRA_KEY_FIXES = {
    "hydra.mode": "-m makes a sweep",
    "hydra.run": "outputs=DIR says where runs go",
    "hydra.searchpath": "--config-dir DIR adds configurations of your own",
    "hydra.sweep": "a sweep is outputs/train/<date>_<time>_sweep; outputs=DIR moves it",
}


def check_override(override: Override, names: list[str] | None) -> None:
    """Raise UsageError for an override that configures Hydra, or chooses by no plain name.

    `names`: the choices where the key is a group, or None.
    """
    word, key = printable(str(override.input_line)), override.key_or_group
    if override.package is not None:
        raise UsageError(f"{word}: a key has no @\n`cnnlab train --cfg job` shows all keys")
    if is_hydra_name(key):
        check_hydra_override(override, word)
    elif override.is_sweep_override():
        return  # each value is checked when its run is composed
    if names is not None:
        value = override.value()
        if override.is_delete() or not isinstance(value, str) or not PLAIN_PATH.fullmatch(value):
            raise UsageError(f"{key} takes one name, not {word}\nthe names: {', '.join(names)}")


def check_hydra_override(override: Override, word: str) -> None:
    """Raise UsageError for an override of Hydra other than of launchers and sweepers."""
    key, value = override.key_or_group, override.value()
    is_plugin = PLUGIN_GROUP.fullmatch(key) or PLUGIN_OPTION.fullmatch(key)
    if not is_plugin or override.is_sweep_override():
        group = ".".join(key.replace("/", ".").split(".")[:2])
        fix = HYDRA_KEY_FIXES.get(group, "of Hydra's, hydra/launcher and hydra/sweeper can be set")
        raise UsageError(f"{word} cannot be set\n{fix}")
    if not is_plain_value(value):
        raise UsageError(f"{word} names a class or a key\nchoose by name: hydra/launcher=NAME")


def is_plain_value(value: Any) -> bool:
    """Return whether a value holds no interpolation and no key of instantiation (`_target_`)."""
    if isinstance(value, dict):
        keys = all(isinstance(key, str) and not key.startswith("_") for key in value)
        return keys and all(map(is_plain_value, (*value, *value.values())))
    if isinstance(value, list):
        return all(map(is_plain_value, value))
    return "${" not in str(value)


def find_unsafe_part(file: ConfigResult) -> str | None:
    """Return the first part of a file that names Hydra, a class or a resolver; None without one."""
    package = file.header.get("package") or ""
    if is_unsafe_package(package):
        return f"@package {package}"
    content = OmegaConf.to_container(file.config, resolve=False)
    return find_unsafe_key(content) or find_unsafe_default(file.defaults_list or [])


def find_unsafe_key(node: Any) -> str | None:
    """Return the first key or value, at any depth, that names Hydra, a class or a resolver."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_" or is_hydra_name(str(key)):
                return str(key)
            if unsafe := find_unsafe_key(value):
                return unsafe
    if isinstance(node, list):
        return next(filter(None, map(find_unsafe_key, node)), None)
    return node if isinstance(node, str) and calls_resolver(node) else None


def calls_resolver(text: str) -> bool:
    """Return whether a text has an interpolation other than of a key, such as `${oc.env:HOME}`."""
    return "${" in KEY_INTERPOLATION.sub("", text)


def find_unsafe_default(defaults: list[InputDefault]) -> str | None:
    """Return the first entry of a defaults list that names Hydra's groups or package."""
    for entry in defaults:
        names: list[Any] = []
        if isinstance(entry, GroupDefault):
            names = [entry.group, *(v if isinstance(v := entry.value, list) else [v])]
        elif isinstance(entry, ConfigDefault):
            names = [entry.path]
        words = [str(name) for name in names if name is not None]
        if any(is_hydra_name(word) or calls_resolver(word) for word in words if word != "_self_"):
            return f"the defaults entry {': '.join(words)}"
        if is_unsafe_package(entry.package or ""):
            return f"the defaults entry {': '.join(words)} @{entry.package}"
    return None


def is_unsafe_package(package: str) -> bool:
    """Return whether a package, such as `model.size` or `_global_`, could be Hydra's."""
    parts = [part for part in package.strip().split(".") if part not in ("", *ALLOWED_KEYWORDS)]
    return any(not re.fullmatch(r"[\w-]+", part) or is_hydra_name(part) for part in parts)


def is_hydra_name(text: str) -> bool:
    """Return whether a folder, a key or a part of a package could come to mean `hydra`."""
    parts = re.split(r"[^\w-]+", text.casefold())
    return any(part == "hydra" or any(word in part for word in PACKAGE_KEYWORDS) for part in parts)


def check_interpolations(config: DictConfig) -> None:
    """Raise UsageError for so many interpolations that the values could fill the memory."""
    content: Any = OmegaConf.to_container(config, resolve=False)
    number = count_interpolations({key: content[key] for key in content if key != "hydra"})
    if number > MAX_INTERPOLATIONS:
        raise UsageError(
            f"the configuration has {number} interpolations, ${{KEY}}\n"
            f"at most {MAX_INTERPOLATIONS} are resolved; write the values instead"
        )


def count_interpolations(node: Any) -> int:
    """Return how many interpolations a value holds, at any depth."""
    if isinstance(node, dict):
        return sum(map(count_interpolations, node.values()))
    if isinstance(node, list):
        return sum(map(count_interpolations, node))
    return node.count("${") if isinstance(node, str) else 0
