"""Precisions by name: which ones a device computes fast, and a context that computes in one."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import torch

from cnnlab.core.errors import UsageError

AUTOCAST_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86, x86 and ARM in /proc/cpuinfo


def use_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which convolutions and matmuls are of a precision. Weights, sums and
    what has no convolution or matmul stay float32."""
    dtype = AUTOCAST_DTYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def list_fast_precisions(device: torch.device) -> list[str]:
    """Return the precisions that a device has instructions for, float32 first.

    Others are emulated: on a CPU with AVX2 alone, bfloat16 is many times slower than float32.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ["float32", *(["bfloat16"] if has_bfloat16 else []), "float16"]
    has_bfloat16 = device.type == "cpu" and bool(CPU_BFLOAT16_FLAGS & read_cpu_flags())
    return ["float32", "bfloat16"] if has_bfloat16 else ["float32"]


@cache
def read_cpu_flags() -> set[str]:
    """Return the processor's flags; none where the system does not list them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return set(flags.partition(":")[2].split())


def choose_eval_precision(precision: str, device: torch.device) -> str:
    """Return the precision in which a run is evaluated: that of its training where the device has
    it, else float32."""
    return precision if precision in list_fast_precisions(device) else "float32"


def check_precision(precision: str, device: torch.device) -> None:
    """Raise UsageError for float16 on other devices than CUDA."""
    if precision == "float16" and device.type != "cuda":
        raise UsageError(
            f"precision=float16 needs a CUDA GPU, and the device is {device}\n"
            "elsewhere: precision=float32, bfloat16 or auto"
        )
