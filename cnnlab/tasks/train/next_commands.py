"""The commands that continue a run, or train further from its weights, as they can be typed."""

import re
import shlex
from pathlib import Path
from typing import Any

from cnnlab.core.files import read_json
from cnnlab.core.quoting import as_override
from cnnlab.core.schema import is_of_type
from cnnlab.core.yaml_files import read_yaml
from cnnlab.tasks.train.settings import TrainSettings

# A run's overrides may come from somebody else: only plain ones of these keys are suggested.
SUGGESTED_KEYS = {*TrainSettings.__annotations__, "experiment"} - {"resume", "init", "outputs"}
PLAIN_OVERRIDE = re.compile(r"\+{0,2}(\w+)((?:[/.]\w+)*)=([\w.,+\[\]{}:-]*)", re.ASCII)


def format_resume_command(folder: Path) -> str:
    """Return the command that resumes the run in `folder`."""
    return f"cnnlab train {as_override('resume', str(folder))}"


def format_new_run_command(folder: Path, *, has_weights: bool = True, without: str = "") -> str:
    """Return the command of a new run like the one in `folder`, from its weights if it has any.

    `without`: a key whose override is left out. Empty where the run's settings cannot be read, or
    where it has overrides that are not plain or used --config-dir: without them it would be another
    network.
    """
    config, overrides = read_yaml(folder / "config.yaml"), read_yaml(folder / "overrides.yaml")
    environment = read_json(folder / "environment.json")
    if not (
        is_of_type(config, dict[str, Any])
        and is_of_type(config.get("dataset"), dict[str, Any])
        and is_of_type(overrides, list[str])
        and is_of_type(environment, dict[str, Any])
    ):
        return ""
    words = [word for word in overrides if keep_override(word, without)]
    root = config["dataset"].get("root") or ""
    has_config_dir = "--config-dir" in str(environment.get("command"))
    if has_config_dir or not all(map(is_suggested, words)) or not str(root).isprintable():
        return ""
    command_words = ["cnnlab train", *map(shlex.quote, words)]
    if root:
        command_words.append(as_override("dataset.root", str(root)))
    if has_weights:
        command_words.append(as_override("init", str(folder)))
    return " ".join(command_words)


def keep_override(word: str, without: str) -> bool:
    """Return whether a new run needs an override of an earlier run."""
    key = word.lstrip("+~").partition("=")[0]
    return key not in ("resume", "init", "outputs", "dataset.root", without)


def is_suggested(word: str) -> bool:
    """Return whether an override is a plain one, of a key of the training."""
    match = PLAIN_OVERRIDE.fullmatch(word)
    return match is not None and match[1] in SUGGESTED_KEYS and ".." not in word
