"""Measure the memory of the machine and of this process."""

import ctypes
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath

import torch

# glibc's numbers for them, and bytes
M_TRIM_THRESHOLD, NEVER_TRIM = -1, -1
M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES, MAX_MMAP_THRESHOLD_BYTES = -3, 1 << 20, 1 << 25
BYTE_UNIT_EXPONENTS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
CGROUP_ROOT, PROCESS_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# By the controller's name in PROCESS_CGROUPS; version 2 has none.
CGROUP_FILES = {
    "": ("memory.max", "memory.current"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}
RECLAIMABLE_CACHES = ("inactive_file", "active_file")


def parse_bytes(text: str) -> int:
    """Return the bytes of `4GB`, `1.5GiB`, `800M` or `4e9`; k = 1000, ki = 1024. Raises
    ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if not match or not 0 < (number := float(match[1])) < 1e18:
        raise ValueError(f"memory_limit must be like 4GB or 800MB, not {text!r}")
    return int(number * (1024 if match[3] else 1000) ** BYTE_UNIT_EXPONENTS[match[2].lower()])


def format_bytes(count: float) -> str:
    """Return bytes as `3.2 GB` or `800 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def get_used_memory(device: torch.device) -> int:
    """Return the bytes of a device's memory that this process uses; on the CPU, resident."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    import psutil

    return int(psutil.Process().memory_info().rss)


def get_free_memory(device: torch.device) -> int:
    """Return the bytes that it could use in addition."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    import psutil

    return min([int(psutil.virtual_memory().available), *list_cgroup_headroom()])


def list_cgroup_headroom() -> list[int]:
    """Return the bytes that each limited control group of this process, a container's or a job's,
    leaves; cached files count as free."""
    headroom = (read_cgroup_headroom(folder, *files) for folder, files in find_cgroups())
    return [free for free in headroom if free is not None]


def find_cgroups() -> list[tuple[Path, tuple[str, str]]]:
    """Return the folders of this process's control groups, innermost first, and the file names of
    limit and usage (Linux, both versions)."""
    groups = list[tuple[Path, tuple[str, str]]]()
    with suppress(OSError, ValueError):
        for line in PROCESS_CGROUPS.read_text().splitlines():
            _, controller, path = line.split(":", 2)
            if controller in CGROUP_FILES:
                innermost = PurePosixPath(path)
                groups += [
                    (CGROUP_ROOT / controller / str(group).lstrip("/"), CGROUP_FILES[controller])
                    for group in (innermost, *innermost.parents)
                ]
    return groups


def read_cgroup_headroom(folder: Path, limit: str, usage: str) -> int | None:
    """Return the bytes that a group may still use; None without a limit."""
    with suppress(OSError, ValueError):  # no such file, or "max"
        free = int((folder / limit).read_text()) - int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        caches = (stat.get(f"total_{kind}", stat.get(kind, 0)) for kind in RECLAIMABLE_CACHES)
        return free + sum(map(int, caches))
    return None


def release_cached() -> None:
    """Return freed memory to the system, if the C library can (glibc), and empty the GPU's
    cache."""
    torch.cuda.empty_cache()  # does nothing if CUDA is not initialized
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def retain_freed() -> None:
    """Retain freed memory in the process from now on, in blocks of up to 32 MB (glibc).

    By default the last freed blocks go back to the system: a training step frees its activations
    and gradients, and the next one would wait for as many fresh pages.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, MAX_MMAP_THRESHOLD_BYTES)
        mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)


def release_immediately() -> None:
    """Return memory to the system as soon as it is freed from now on, except small blocks (glibc).
    By default blocks of up to 32 MB are retained, and fragment; fresh pages cost time, though."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
