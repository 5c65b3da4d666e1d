"""Select and describe the device, and set its precision, threads and determinism."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cnnlab.core.errors import UsageError
from cnnlab.core.keys import MAX_THREADS


def pick_device(name: str) -> torch.device:
    """Return the device of `auto | cpu | cuda[:N] | mps`. Raises UsageError if it is not
    available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps") or name.startswith("cpu:"):
        raise UsageError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N, mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(format_missing_cuda(name))
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("MPS is not available on this machine; use device=auto")
    return device


def format_missing_cuda(name: str) -> str:
    count = torch.cuda.device_count()
    if not count:
        return "CUDA is not available on this machine; use device=auto"
    devices = f"{count} CUDA device{'s' * (count != 1)}"
    return f"device {name!r} is not available: this machine has {devices}; use device=auto"


def describe_device(device: torch.device) -> str:
    """Return a device's description: `cuda:0 (NVIDIA H200)`, `cpu (2 threads, AMD EPYC)`."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    count = torch.get_num_threads()
    return f"{device} ({count} thread{'s' * (count != 1)}, {get_cpu_name()})"


def get_cpu_name() -> str:
    """Return the processor's name, as far as the system provides it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Compute with `count` CPU threads in this context; None changes nothing. Raises UsageError for
    more than MAX_THREADS."""
    if count is not None and not 1 <= count <= MAX_THREADS:
        raise UsageError(f"threads must be between 1 and {MAX_THREADS}, not {count}")
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_deterministic_algorithms(is_deterministic: bool, *, warn_only: bool = False) -> None:
    """Switch torch's deterministic algorithms on or off; `warn_only`: where torch has them."""
    if is_deterministic:
        # Without the variable cuBLAS refuses to be deterministic.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Otherwise every new tensor is filled with NaN, 30 to 140 more kernels a training step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(is_deterministic, warn_only=warn_only)


@contextmanager
def use_deterministic_algorithms(device: torch.device) -> Iterator[None]:
    """Use deterministic GPU algorithms in this context, where torch has them; a CPU's always
    are."""
    if device.type != "cuda":
        yield
        return
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    set_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        set_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def disable_tf32() -> Iterator[None]:
    """Compute a GPU's float32 convolutions in float32 in this context, not in TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def copy_without_waiting(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a copy of a CPU tensor on a device; the host does not wait until a GPU has it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished, so that a time can be measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
