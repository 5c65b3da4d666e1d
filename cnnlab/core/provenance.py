"""What a figure needs beside it to be measured again: command, commit, versions, machine."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cnnlab.core.device import get_cpu_name
from cnnlab.core.quoting import get_command_line

RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "hydra-core",
    "omegaconf",
    "tensorboard",
    "numpy",
    "safetensors",
)


def read_git_commit() -> str | None:
    """The commit of the checkout that this package runs from, `+` where it is changed; None outside one."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    git = [
        "git",
        "--no-optional-locks",
        "-C",
        str(here),
    ]  # a run that is killed leaves no lock in the checkout
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=5
        )
        dirty = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (
        head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
        if head.returncode == 0
        else None
    )


def collect_environment(device: torch.device) -> dict[str, Any]:
    """What a figure needs beside it to be measured again: command, commit, versions, machine, threads."""
    return {
        "command": get_command_line(),
        "commit": read_git_commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in RECORDED_PACKAGES},
        "platform": platform.platform(),
        "processor": get_cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }
