"""The provenance of a figure: command, commit, versions, machine."""

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
    """Return the commit of the checkout that this package runs from, with `+` if it has changes;
    None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        head = run_git(here, "rev-parse", "--short=12", "HEAD")
        status = run_git(here, "status", "--porcelain")
    except (OSError, subprocess.TimeoutExpired):
        return None
    if head.returncode != 0:
        return None
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")


def run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git without optional locks: a killed run leaves none in the checkout."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=5)


def collect_environment(device: torch.device) -> dict[str, Any]:
    """Return what is needed to reproduce a figure: command, commit, versions, machine, threads."""
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
