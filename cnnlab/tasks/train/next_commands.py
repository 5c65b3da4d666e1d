"""The commands that continue a run, or train further from its weights, as they can be typed."""

import re
import shlex
from pathlib import Path

from cnnlab.core.files import read_json, read_yaml
from cnnlab.core.quoting import as_override
from cnnlab.core.sweep_index import read_overrides
from cnnlab.tasks.train.settings import TrainSettings

# A run's overrides may come from somebody else: only plain ones of these keys are suggested.
SUGGESTED_KEYS = {*TrainSettings.__annotations__, "experiment"} - {"resume", "init", "outputs"}
PLAIN_OVERRIDE = re.compile(r"\+{0,2}(\w+)((?:[/.]\w+)*)=([\w.,+\[\]{}:-]*)", re.ASCII)


def format_resume_command(folder: Path) -> str:
    """Return the command that resumes the run in `folder`."""
    return f"cnnlab train {as_override('resume', str(folder))}"


def format_new_run_command(folder: Path, *, has_weights: bool = True, without: str = "") -> str:
    """Return the command of a new run like the one in `folder`, from its weights if it has any.

    `without`: a key whose override is left out. Empty if the run has overrides that are not plain,
    or used --config-dir: without them it would be another network.
    """
    words = [word for word in read_overrides(folder) if keep_override(word, without)]
    environment = read_json(folder / "environment.json")
    command = environment.get("command") if isinstance(environment, dict) else None
    has_config_dir = "--config-dir" in str(command)
    if has_config_dir or not all(map(is_suggested, words)):
        return ""
    command_words = ["cnnlab train", *map(shlex.quote, words)]
    if root := read_images_root(folder):
        command_words.append(as_override("dataset.root", root))
    if has_weights:
        command_words.append(as_override("init", str(folder)))
    return " ".join(command_words)


def read_images_root(folder: Path) -> str | None:
    """Return the absolute path of a run's own images, if it has any and the path can be printed."""
    config = read_yaml(folder / "config.yaml")
    dataset = config.get("dataset") if isinstance(config, dict) else None
    root = dataset.get("root") if isinstance(dataset, dict) else None
    return root if isinstance(root, str) and root.isprintable() else None


def keep_override(word: str, without: str) -> bool:
    """Return whether a new run needs an override of an earlier run."""
    key = word.lstrip("+~").partition("=")[0]
    return key not in ("resume", "init", "outputs", "dataset.root", without)


def is_suggested(word: str) -> bool:
    """Return whether an override is a plain one, of a key of the training."""
    match = PLAIN_OVERRIDE.fullmatch(word)
    return match is not None and match[1] in SUGGESTED_KEYS and ".." not in word
