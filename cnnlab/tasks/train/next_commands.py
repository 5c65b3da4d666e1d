"""The commands that continue a run, or train further from its weights, as they can be typed."""

import re
import shlex
from pathlib import Path
from typing import Any

from cnnlab.config import compose
from cnnlab.core.files import path_exists, read_json
from cnnlab.core.quoting import as_override
from cnnlab.core.schema import is_of_type
from cnnlab.core.yaml_files import read_yaml
from cnnlab.tasks.train.settings import TrainSettings

# A run's overrides may come from somebody else: only plain ones of these keys are suggested.
SUGGESTED_KEYS = {*TrainSettings.__annotations__, "experiment"} - {"resume", "init", "outputs"}
PLAIN_OVERRIDE = re.compile(r"\+{0,2}(\w+)((?:[/.]\w+)*)=([\w.,+\[\]{}:-]*)", re.ASCII)


def format_resume_command(folder: Path, moved_root: str | None = None) -> str:
    """Return the command that resumes the run in `folder`, whose images are now in `moved_root`."""
    moved = f" {as_override('dataset.root', moved_root)}" if moved_root else ""
    return f"cnnlab train {as_override('resume', str(folder))}{moved}"


def format_new_run_command(
    folder: Path, root: str | None = None, *, has_weights: bool = True, without: str = ""
) -> str:
    """Return the command of a new run like the one in `folder`, from its weights if it has any.

    `root`: where its images are now; None: where they were. `without`: a key whose override is left
    out. Empty where the run's settings cannot be read, where its images are gone, or where it has
    overrides that are not plain or used --config-dir: without them it would be another network.
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
    root = str(root or config["dataset"].get("root") or "")
    if root and not (root.isprintable() and path_exists(Path(root))):
        return ""
    if "--config-dir" in str(environment.get("command")) or not all(map(is_suggested, words)):
        return ""
    command_words = ["cnnlab train", *map(shlex.quote, words)]
    if root:
        command_words.append(as_override("dataset.root", root))
    if has_weights:
        command_words.append(as_override("init", str(folder)))
    return " ".join(command_words)


def choose_lower_rate(folder: Path, rate: float) -> float:
    """Return a learning rate to try where the run in `folder` failed with `rate`: the default of
    its model, experiment and optimizer where that is lower, else a tenth."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    overrides = read_yaml(folder / "overrides.yaml")
    words = overrides if is_of_type(overrides, list[str]) else []
    chosen = [word for word in words if is_suggested(word) and keep_override(word, "optim.lr")]
    try:
        default = compose("train", chosen)["optim"]["lr"]
    except (HydraException, OmegaConfBaseException):  # a model of --config-dir
        default = rate
    return default if default < rate else rate / 10


def keep_override(word: str, without: str) -> bool:
    """Return whether a new run needs an override of an earlier run."""
    key = word.lstrip("+~").partition("=")[0]
    return key not in ("resume", "init", "outputs", "dataset.root", without)


def is_suggested(word: str) -> bool:
    """Return whether an override is a plain one, of a key of the training."""
    match = PLAIN_OVERRIDE.fullmatch(word)
    return match is not None and match[1] in SUGGESTED_KEYS and ".." not in word
