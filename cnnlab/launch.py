"""Hydra under the verbs: compose a configuration, run its task, and report errors in one line."""

import os
import re
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from cnnlab.config import CONFIG_DIR, list_groups, list_keys
from cnnlab.config_scan import check_config_dir
from cnnlab.core.errors import Stopped, UsageError, format_unknown_choice, suggest_nearest
from cnnlab.multirun import Sweep, run_job

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


class WrappedTaskError(BaseException):
    """Carries a task's error past Hydra, which would print a line of its own about it."""


def run_task(config: Any) -> Any:
    """What Hydra calls with a composed configuration: the task of the same name, given plain values."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    if hydra.job.config_name not in TASKS:
        raise UsageError(format_unknown_choice("task", str(hydra.job.config_name), TASKS))
    try:
        words, task = (
            list(hydra.overrides.task),
            import_module(f"cnnlab.tasks.{hydra.job.config_name}.command"),
        )
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        if hydra.mode is not RunMode.MULTIRUN:
            return task.run(plain, words)
        folder = Path(os.path.relpath(hydra.runtime.output_dir))
        return run_job(folder, words, lambda: task.run(plain, words, sweep_folder=folder))
    except Exception as error:
        raise WrappedTaskError from error


def launch(
    task: str, overrides: list[str], *, multirun: bool = False, cfg: str = "", config_dir: str = ""
) -> Path | None:
    """Compose configs/`task`.yaml with overrides and run the task; `cfg` (job, hydra or all) prints instead. Returns a
    sweep's folder. Raises UsageError, one line, for a configuration that cannot be, and whatever the task raises."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if cfg and (cfg not in ("job", "hydra", "all") or multirun):
        raise UsageError(f"--cfg takes job, hydra or all, and no -m beside it, not {cfg!r}")
    os.environ["HYDRA_FULL_ERROR"] = (
        "1"  # errors come back here instead of being printed and exited with
    )
    flags = [
        *(["--cfg", cfg] if cfg else []),
        *(["--config-dir", config_dir] if config_dir else []),
    ]
    sweep, before = None, sys.argv
    try:
        if config_dir:
            check_config_dir(Path(config_dir))
        if multirun:
            sweep = Sweep(task, overrides, config_dir)
            flags, overrides = [*flags, *sweep.hydra_flags], sweep.overrides
        sys.argv = ["cnnlab", *flags, *HYDRA_QUIET_OVERRIDES, f"hydra.job.name={task}", *overrides]
        with sweep or nullcontext():
            hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=task)(
                run_task
            )()
            if sweep:
                sweep.report_result()
        return sweep.folder if sweep else None
    except WrappedTaskError as escape:
        if sweep and isinstance(escape.__cause__, Stopped):
            raise sweep.stopped_error(escape.__cause__.signal) from None
        if isinstance(escape.__cause__, OmegaConfBaseException):
            raise UsageError(format_hydra_error(task, escape.__cause__)) from escape
        raise escape.__cause__ or escape from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(format_hydra_error(task, error)) from error
    except ValueError as error:  # OmegaConf's
        raise UsageError(
            f"what is in a list goes by numbers: {format_hydra_error(task, error)}"
        ) from error
    except YAMLError as error:
        raise UsageError(" ".join(str(error).split())) from error
    finally:
        sys.argv = before


def format_hydra_error(task: str, error: BaseException | None) -> str:
    """Hydra's message, which runs over many lines, as one that names the thing and the choices."""
    text = str(error)
    if "hydra/launcher/joblib" in text:
        return "hydra/launcher=joblib is not installed: pip install hydra-joblib-launcher"
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        return format_unknown_choice(found[1], found[2], list_groups().get(found[1], []))
    if found := re.search(r"Could not override '([^']+)'", text):
        near, verb = (
            suggest_nearest(found[1], set(list_keys(task)) - {found[1]}),
            task.replace("_", "-"),
        )
        return f"unknown key {found[1]}{near or ';'} `cnnlab {verb} --cfg job` shows all keys"
    return re.sub(
        r"See https?://\S+ for details", "", " ".join(text.split("\n\n")[0].split())
    ).strip()
