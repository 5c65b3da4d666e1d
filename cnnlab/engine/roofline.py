"""What a machine can do at best: products of matrices, and moving memory; and what a network asks of it."""

from collections.abc import Callable
from functools import cache
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.core.device import synchronize

MATMUL_SIZE = {
    "cpu": 2048,
    "cuda": 8192,
    "mps": 4096,
}  # of the matrices: so large that nothing but products counts
COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 31, "mps": 1 << 28}  # bytes, beyond every cache
MEASURE_SECONDS = 1.0  # that each ceiling is looked for


def measure_shortest_time(
    work: Callable[[], object], device: torch.device, seconds: float
) -> float:
    """The shortest time that a call takes, in seconds, over so many seconds, after a call that does not count."""
    work()
    synchronize(device)
    end, best = perf_counter() + seconds, float("inf")
    while perf_counter() < end or best == float("inf"):
        began = perf_counter()
        work()
        synchronize(device)
        best = min(best, perf_counter() - began)
    return best


@cache
def measure_peak_flops(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Floating-point operations a second in products of square matrices, a multiply-add counted as two. `threads`: of
    the CPU, as they are set; so that another number is measured anew."""
    n = MATMUL_SIZE[device.type]
    a, b = (torch.randn(n, n, device=device, dtype=torch.float32).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return (
        2 * n**3 / measure_shortest_time(lambda: torch.mm(a, b, out=out), device, MEASURE_SECONDS)
    )


@cache
def measure_peak_bandwidth(device: torch.device, threads: int) -> float:
    """Bytes a second, read and written together, when a large tensor is copied."""
    source = torch.zeros(COPY_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    return (
        2
        * COPY_BYTES[device.type]
        / measure_shortest_time(lambda: target.copy_(source), device, MEASURE_SECONDS)
    )


def count_flops(model: nn.Module, pictures: Tensor, labels: Tensor) -> tuple[float, float]:
    """Floating-point operations for each picture, by torch's own counter: forward, and forward with backward."""
    counts = []
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
            loss = F.cross_entropy(model(pictures), labels)
            if backward:
                loss.backward()
        counts.append(counter.get_total_flops() / len(pictures))
    model.zero_grad()
    return counts[0], counts[1]
