"""How much memory there is, and how much of it this process has."""

import ctypes
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath

import torch

M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES = -3, 1 << 20  # glibc's number for it, and bytes
BYTE_UNIT_EXPONENTS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
CGROUP_ROOT, PROCESS_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# By the kind of group, as OWN names it: version 2 names none.
CGROUP_FILES = {
    "": ("memory.max", "memory.current"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}
RECLAIMABLE_CACHES = ("inactive_file", "active_file")


def parse_bytes(text: str) -> int:
    """`4GB`, `1.5GiB`, `800M`, `4e9` -> bytes, k = 1000 and ki = 1024. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if not found or not 0 < (number := float(found[1])) < 1e18:
        raise ValueError(f"memory_limit must be like 4GB or 800MB, not {text!r}")
    return int(number * (1024 if found[3] else 1000) ** BYTE_UNIT_EXPONENTS[found[2].lower()])


def format_bytes(count: float) -> str:
    """Bytes -> `3.2 GB`, `800 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def get_used_memory(device: torch.device) -> int:
    """Bytes that this process has of a device's memory; of the CPU's, resident."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    import psutil

    return int(psutil.Process().memory_info().rss)


def get_free_memory(device: torch.device) -> int:
    """Bytes that it could have beside those."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    import psutil

    return min([int(psutil.virtual_memory().available), *list_cgroup_headroom()])


def list_cgroup_headroom() -> list[int]:
    """What the control groups that this process is in, a container's or a job's, leave it; files of the disk that they
    keep in memory would go."""
    return [
        rest
        for place, files in find_cgroups()
        if (rest := read_cgroup_headroom(place, *files)) is not None
    ]


def find_cgroups() -> list[tuple[Path, tuple[str, str]]]:
    """The folders that tell of them, the innermost first, and the names of limit and usage (Linux, both versions)."""
    found = list[tuple[Path, tuple[str, str]]]()
    with suppress(OSError, ValueError):
        for line in PROCESS_CGROUPS.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds in CGROUP_FILES:
                inner = PurePosixPath(path)
                found += [
                    (CGROUP_ROOT / kinds / str(one).lstrip("/"), CGROUP_FILES[kinds])
                    for one in (inner, *inner.parents)
                ]
    return found


def read_cgroup_headroom(place: Path, limit: str, usage: str) -> int | None:
    """Bytes that a group may still have; None where it says nothing, or has no limit."""
    with suppress(OSError, ValueError):  # no such file, or "max"
        rest = int((place / limit).read_text()) - int((place / usage).read_text())
        said = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
        return rest + sum(
            int(said.get(f"total_{kind}", said.get(kind, 0))) for kind in RECLAIMABLE_CACHES
        )
    return None


def release_cached() -> None:
    """Give the system what was freed and is still held, where the C library can (glibc), and a GPU its cache."""
    torch.cuda.empty_cache()  # nothing, where CUDA was not begun
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def release_immediately() -> None:
    """From now on give it back as soon as it is freed, but for what is small (glibc). Kept, as it is otherwise up to 32
    MB, it is in pieces of which the next ones need not fit into any; but fresh pages cost time."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
