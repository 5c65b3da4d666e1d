"""Run a task by Hydra: compose its configuration, and report errors in one line."""

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from cnnlab.config import CONFIG_DIR, list_groups, list_keys
from cnnlab.core.errors import Stopped, UsageError, find_nearest, format_unknown_choice
from cnnlab.core.quoting import hydra_literal, printable
from cnnlab.core.renamed_keys import find_new_name
from cnnlab.core.yaml_files import parse_yaml
from cnnlab.multirun import Sweep, count_failed_runs, run_job

TASKS = (
    "bench",
    "compare",
    "describe",
    "embed",
    "eval",
    "lr_find",
    "predict",
    "stylize",
    "train",
    "visualize",
)


# cnnlab makes its own run folders and writes its own logs.
HYDRA_QUIET_OVERRIDES = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=disabled",
    "hydra/hydra_logging=disabled",
)

PLUGIN_PACKAGES = {
    ("hydra/launcher", "joblib"): "hydra-joblib-launcher",
    ("hydra/sweeper", "optuna"): "hydra-optuna-sweeper",
}

# Names of keys in other programs: here
SYNONYMS = {
    "amp": "precision",
    "bs": "batch_size",
    "learning_rate": "lr",
    "max_epochs": "epochs",
    "num_epochs": "epochs",
    "num_workers": "workers",
    "wd": "weight_decay",
}


class WrappedTaskError(BaseException):
    """Carries a task's error past Hydra, which would print a line of its own about it."""


def run_task(config: Any) -> Any:
    """Run the task named like the configuration; Hydra calls this with the composed values."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    name = str(hydra.job.config_name)
    if name not in TASKS:
        raise UsageError(format_unknown_choice("task", name, TASKS))
    try:
        overrides = list(hydra.overrides.task)
        task = import_module(f"cnnlab.tasks.{name}.command")
        values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        if hydra.mode is not RunMode.MULTIRUN:
            return task.run(values, overrides)
        folder = Path(os.path.relpath(hydra.runtime.output_dir))
        return run_job(folder, overrides, lambda: task.run(values, overrides, sweep_folder=folder))
    except Exception as error:
        raise WrappedTaskError from error


def launch(
    task: str, overrides: list[str], *, multirun: bool = False, cfg: str = "", config_dir: str = ""
) -> Path | None:
    """Compose configs/`task`.yaml with overrides and run the task; return a sweep's folder.

    `cfg` (job, hydra or all) prints the configuration instead. Raises UsageError, one line, for a
    configuration that cannot be composed, and whatever the task raises.
    """
    if cfg and (cfg not in ("job", "hydra", "all") or multirun):
        raise UsageError(f"--cfg takes job, hydra or all, and no -m beside it, not {cfg!r}")
    with translate_hydra_errors(task):
        if not multirun:
            run_hydra(task, overrides, config_dir, cfg=cfg)
            return None
        sweep = Sweep(task, overrides, config_dir)
        try:
            with sweep:
                results = run_hydra(task, sweep.overrides, config_dir, sweep_dir=sweep.folder)
                sweep.report_result(count_failed_runs(results))
        except WrappedTaskError as error:
            if isinstance(error.__cause__, Stopped):
                raise sweep.stopped_error(error.__cause__.signal) from None
            raise
        return sweep.folder


def run_hydra(
    task: str,
    overrides: list[str],
    config_dir: str,
    *,
    cfg: str = "",
    sweep_dir: Path | None = None,
) -> Any:
    """Let Hydra run the task, or each run of a sweep in `sweep_dir`, or print `cfg`.

    Returns what Hydra's sweeper returns of a sweep.
    """
    from cnnlab.config_loader import open_hydra

    own = [*HYDRA_QUIET_OVERRIDES, f"hydra.mode={'RUN' if sweep_dir is None else 'MULTIRUN'}"]
    if sweep_dir is not None:
        own.append(f"hydra.sweep.dir={hydra_literal(str(sweep_dir))}")
    with open_hydra(task, config_dir, own) as hydra:
        if cfg:
            hydra.show_cfg(task, [*own, *overrides], cfg, package=None)
        elif sweep_dir is not None:
            return hydra.multirun(task, run_task, [*own, *overrides])
        else:
            hydra.run(task, run_task, [*own, *overrides])
        return None


@contextmanager
def translate_hydra_errors(task: str) -> Iterator[None]:
    """Raise a task's own error, and UsageError, one line, for errors of Hydra and OmegaConf."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except WrappedTaskError as error:
        if isinstance(error.__cause__, (HydraException, OmegaConfBaseException)):
            raise UsageError(format_hydra_error(task, error.__cause__)) from error
        raise error.__cause__ or error from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(format_hydra_error(task, error)) from error
    except ValueError as error:  # OmegaConf's, for a list index that is no number
        message = format_hydra_error(task, error)
        raise UsageError(f"list items are addressed by number: {message}") from error
    except YAMLError as error:
        raise UsageError(" ".join(str(error).split())) from error


def format_hydra_error(task: str, error: BaseException) -> str:
    """Return Hydra's message on one line, naming what is wrong and the choices."""
    from hydra.errors import OverrideParseException

    text = str(error)
    if isinstance(error, OverrideParseException):
        return format_unreadable_override(error.override)
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, option = match.groups()
        if package := PLUGIN_PACKAGES.get((group, option)):
            return f"{group}={option} is not installed: pip install {package}"
        if group.startswith("hydra/"):
            return f"{group}={option} is not installed, or no such plugin exists"
        return format_unknown_choice(group, option, list_groups().get(group, []))
    if match := re.search(r"Could not override '([^']+)'", text):
        return format_unknown_key(task, match[1])
    line = " ".join(text.split("\n\n")[0].split())
    return re.sub(r"See https?://\S+ for details", "", line).strip()


def format_unreadable_override(word: str) -> str:
    """Return a message for an override that Hydra cannot parse, and what to type instead."""
    key, _, value = word.partition("=")
    quoted = f"{key}={hydra_literal(value)}"
    typed = shlex.quote(quoted) if re.search(r'["$`!\\]', quoted) else f'"{quoted}"'
    fix = f"to have the value taken as it is, type {printable(typed)}"
    return f"{printable(word)} cannot be read\n{fix}"


def format_unknown_key(task: str, key: str) -> str:
    """Return a message with the new name of a renamed key, or the most similar key."""
    if new_name := find_new_name(task, key):
        return f"{key} is now {new_name}"
    keys, listing = list_keys(task), f"`cnnlab {task.replace('_', '-')} --cfg job` shows all keys"
    group, dot, name = key.rpartition(".")
    name = SYNONYMS.get(name, name)
    exact = [k for k in keys if k == f"{group}{dot}{name}" or (not dot and k.endswith(f".{name}"))]
    if not exact and (options := find_options_with(group, name)):
        choices = ", ".join(f"{group}={option}" for option in options)
        return f"unknown key {key}: this {group} has none\noptions that have it: {choices}"
    # Of a group only the key's own name is compared: all begin with the group.
    siblings = [k.removeprefix(f"{group}.") for k in keys if not dot or k.startswith(f"{group}.")]
    similar = find_nearest(name, siblings)
    nearest = min(exact) if exact else f"{group}{dot}{similar}" if similar else ""
    return f"unknown key {key}; " + (f"did you mean {nearest}? " if nearest else "") + listing


def find_options_with(group: str, name: str) -> list[str]:
    """Return the options of a configuration group whose file has a key."""
    paths = [CONFIG_DIR / group / f"{option}.yaml" for option in list_groups().get(group, [])]
    return [path.stem for path in paths if name in (parse_yaml(path.read_text()) or {})]
