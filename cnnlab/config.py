"""Hydra under the verbs: launch it, and turn what it says into one line."""

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from cnnlab.core.errors import CnnlabError, UsageError, nearest, not_one_of

PACKAGE = Path(__file__).resolve().parent
CONFIGS = next((path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir()), PACKAGE / "configs")
TASKS = ("eval", "predict", "train")
# cnnlab makes its own run folders and writes its own logs.
QUIET = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled")


class Escape(BaseException):
    """Carries a task's error past Hydra, which would print a line of its own about it."""


def entry(config: Any) -> Any:
    """What Hydra calls with a composed configuration: the task of the same name, given plain values."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    if hydra.job.config_name not in TASKS:
        raise UsageError(not_one_of("task", str(hydra.job.config_name), TASKS))
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    try:
        return import_module(f"cnnlab.tasks.{hydra.job.config_name}").run(plain, list(hydra.overrides.task))
    except CnnlabError as error:
        if hydra.mode is RunMode.MULTIRUN:
            raise
        raise Escape from error


def launch(task: str, overrides: list[str], flags: list[str]) -> None:
    """Compose configs/`task`.yaml with overrides and run the task, or do what Hydra's flags ask for.
    Raises UsageError, one line, for a configuration that cannot be."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back here instead of being printed and exited with
    before, sys.argv = sys.argv, ["cnnlab", *flags, *QUIET, f"hydra.job.name={task}", *overrides]
    try:
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=task)(entry)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(one_line(task, error)) from error
    except Escape as escape:
        raise escape.__cause__ or escape from None
    finally:
        sys.argv = before


def one_line(task: str, error: Exception) -> str:
    """Hydra's message, which runs over many lines, as one that names the thing and the choices."""
    text = str(error)
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        return not_one_of(found[1], found[2], groups().get(found[1], []))
    if found := re.search(r"Could not override '([^']+)'", text) or re.search(r"Could not (?:append|delete).*?: '?([\w./@]+)", text):
        known = keys(task)
        return f"unknown key {found[1]}{nearest(found[1], known)} `cnnlab {task} --cfg job` shows all keys"
    if found := re.search(r"(?:mismatched|extraneous|no viable|token recognition)[^\n]*", text):
        return f"cannot read the override: {text.splitlines()[0]}"
    return " ".join(text.split("\n\n")[0].split())


def groups() -> dict[str, list[str]]:
    """{"model": ["mnist_cnn", ...], ...}: the configuration groups and their options."""
    folders = sorted(path for path in CONFIGS.iterdir() if path.is_dir())
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def keys(task: str) -> list[str]:
    """Every key of a task's default configuration, as `group.key`."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            plain = OmegaConf.to_container(compose(task))
    except Exception:
        return []
    found: list[str] = []

    def walk(value: Any, path: str) -> None:
        for key, below in value.items() if isinstance(value, dict) else ():
            found.append(f"{path}{key}")
            walk(below, f"{path}{key}.")

    walk(plain, "")
    return found


def literal(text: str) -> str:
    """A file's name as a Hydra value that means just that, whatever is in it."""
    quoted = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{quoted}'"


__all__ = ["CONFIGS", "CnnlabError", "groups", "keys", "launch", "literal"]
