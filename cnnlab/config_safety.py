"""Refuse a folder of configurations that configures Hydra itself, which can run any code.

Hydra instantiates the callbacks, launchers, sweepers and log handlers that a configuration names.
A folder given by --config-dir may come from anybody, so its files are read before Hydra runs.
The checks are stricter than Hydra: they ask whether a name could reach its package.
"""

import os
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from cnnlab.core.errors import UsageError, summarize_error
from cnnlab.core.quoting import printable

# Hydra replaces these within a package's name, so `hyd_group_` in a folder `ra` is `hydra`.
PACKAGE_KEYWORDS = ("_global_", "_group_", "_here_", "_name_")
ALLOWED_KEYWORDS = PACKAGE_KEYWORDS[:3]  # where they are a whole part; `_name_` is a file's name
PACKAGE_HEADER = re.compile(r"\s*#\s*@\s*package\b(.*)")
PLAIN_SEGMENT = r"(?!\.+(?:/|@|$))[\w.+=-]+"
INTERPOLATED_SEGMENT = r"(?:[\w+=-]|\$\{[\w/@]+\})+"  # no resolver, and no dots: no way to `..`
OPTION_SEGMENT = f"(?:{PLAIN_SEGMENT}|{INTERPOLATED_SEGMENT})"
CONFIG_ENTRY = re.compile(rf"/?{PLAIN_SEGMENT}(?:/{PLAIN_SEGMENT})*(?:@([\w.-]+))?")
GROUP_ENTRY = re.compile(r"(?:(?:optional|override) )*/?[\w-]+(?:/[\w-]+)*(?:@([\w.-]+))?")
OPTION = re.compile(rf"{OPTION_SEGMENT}(?:/{OPTION_SEGMENT})*")


def check_config_dir(folder: Path) -> None:
    """Raise UsageError, naming the file and the key, where a file in `folder` could run code."""
    if not folder.is_dir():
        raise UsageError(f"--config-dir {printable(str(folder))} is not a folder")
    for path in list_config_files(folder):
        if key := find_unsafe_part(path):
            raise build_unsafe_error(path, key)


def build_unsafe_error(path: Path, key: str) -> UsageError:
    """Return the one-line error for a file or folder, and the part of it that is refused."""
    return UsageError(
        f"{printable(str(path))}: {printable(key)} configures Hydra or names a file in no plain "
        "way, which can run code; give it on the command line instead"
    )


def list_config_files(folder: Path) -> Iterator[Path]:
    """Yield every YAML file below `folder`, through links too. Raises UsageError for folder names
    that Hydra would take as its own group, and for what cannot be listed."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {summarize_error(error)}")

    visited = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        for name in folders:
            if is_hydra_name(name):
                raise build_unsafe_error(Path(parent, name), f"the folder {name}/")
        targets = {name: os.path.realpath(Path(parent, name)) for name in sorted(folders)}
        folders[:] = [name for name, target in targets.items() if target not in visited]
        visited.update(targets.values())
        for name in sorted(files):
            if name.lower().endswith((".yaml", ".yml")) and Path(parent, name).is_file():
                yield Path(parent, name)


def find_unsafe_part(path: Path) -> str | None:
    """Return the first package header, key or defaults entry of a file that could configure Hydra.

    A file that OmegaConf cannot load has none: Hydra loads it by the same function and fails.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        text = path.read_text(encoding="utf-8")
        content = OmegaConf.to_container(OmegaConf.load(StringIO(text)), resolve=False)
    except OSError as error:
        raise UsageError(f"cannot read {printable(str(path))}: {summarize_error(error)}") from error
    except RecursionError as error:
        raise UsageError(f"{printable(str(path))} is nested too deeply") from error
    except (OmegaConfBaseException, YAMLError, ValueError):
        return None
    defaults = content.pop("defaults", None) if isinstance(content, dict) else None
    return find_unsafe_header(text) or find_unsafe_key(content) or find_unsafe_default(defaults)


def find_unsafe_header(text: str) -> str | None:
    """Return the first `# @package` line that could put a file into Hydra's package."""
    headers = (match for line in text.splitlines() if (match := PACKAGE_HEADER.match(line)))
    return next((header[0].strip() for header in headers if is_unsafe_package(header[1])), None)


def find_unsafe_key(node: Any) -> str | None:
    """Return the first key, at any depth, that names Hydra's package or a class to instantiate."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_" or is_hydra_name(str(key)):
                return str(key)
            if unsafe := find_unsafe_key(value):
                return unsafe
    if isinstance(node, list):
        return next(filter(None, map(find_unsafe_key, node)), None)
    return None


def find_unsafe_default(defaults: Any) -> str | None:
    """Return the first entry of a defaults list that could name Hydra's groups, its package, or a
    file outside the configuration folders."""
    if isinstance(defaults, str):  # an interpolation, which Hydra resolves to a list
        return f"defaults: {defaults}"
    for entry in defaults if isinstance(defaults, list) else ():
        if isinstance(entry, str) and is_unsafe_entry(CONFIG_ENTRY, entry):
            return f"the defaults entry {entry}"
        for group, option in entry.items() if isinstance(entry, dict) else ():
            options = option if isinstance(option, list) else [option]
            unsafe = any(is_unsafe_entry(OPTION, name) for name in options if name is not None)
            if unsafe or is_unsafe_entry(GROUP_ENTRY, str(group)):
                return f"the defaults entry {group}: {option}"
    return None


def is_unsafe_entry(pattern: re.Pattern[str], text: Any) -> bool:
    """Return whether a part of a defaults entry is other than the plain names of `pattern`."""
    match = pattern.fullmatch(str(text))
    if not match or is_hydra_name(str(text).partition("@")[0]):
        return True
    return any(is_unsafe_package(package) for package in match.groups() if package)


def is_unsafe_package(package: str) -> bool:
    """Return whether a package, such as `model.size` or `_global_`, could be Hydra's."""
    parts = [part for part in package.strip().split(".") if part not in ALLOWED_KEYWORDS]
    return any(not re.fullmatch(r"[\w-]+", part) or is_hydra_name(part) for part in parts)


def is_hydra_name(text: str) -> bool:
    """Return whether a folder, a key or a part of a package could come to mean `hydra`."""
    parts = re.split(r"[^\w-]+", text.casefold())
    return any(part == "hydra" or any(word in part for word in PACKAGE_KEYWORDS) for part in parts)
