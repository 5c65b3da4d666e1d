"""A machine's measured peaks (FLOP/s, memory bandwidth), and a network's FLOPs."""

from collections.abc import Callable
from functools import cache
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.core.device import synchronize

# Rows and columns of the matrices: large enough that overheads do not count.
MATMUL_SIZE = {"cpu": 1024, "cuda": 8192, "mps": 4096}
# Images, channels in and out, side of images, side of filters; on CPUs faster than other shapes.
CONV_SIZE = {"cpu": (32, 64, 24, 5), "cuda": (256, 256, 64, 3), "mps": (64, 128, 32, 3)}
COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 31, "mps": 1 << 28}  # bytes, beyond every cache
MEASURE_SECONDS = 0.5  # for each operation


def measure_shortest_time(
    work: Callable[[], object], device: torch.device, seconds: float
) -> float:
    """Return the seconds of the fastest call in `seconds` seconds, after one warm-up call."""
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
    """Return the FLOP/s of products of square matrices, or of a convolution in channels_last, the
    larger of both; a multiply-add counts as two.

    `threads` is the number of CPU threads in use; the result is cached for each number.
    """
    return max(measure_matmul_flops(device, dtype), measure_conv_flops(device, dtype))


def measure_matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of products of square matrices."""
    n = MATMUL_SIZE[device.type]
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    seconds = measure_shortest_time(lambda: torch.mm(a, b, out=out), device, MEASURE_SECONDS)
    return 2 * n**3 / seconds


@torch.inference_mode()
def measure_conv_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of a convolution whose output has the size of its input, in channels_last."""
    num_images, depth, side, extent = CONV_SIZE[device.type]
    images, filters = (
        torch.randn(shape, device=device).to(dtype, memory_format=torch.channels_last)
        for shape in ((num_images, depth, side, side), (depth, depth, extent, extent))
    )
    seconds = measure_shortest_time(
        lambda: F.conv2d(images, filters, padding=extent // 2), device, MEASURE_SECONDS
    )
    # As FlopCounterMode counts: at the edges too, where some of a filter is on the padding.
    return 2 * num_images * side**2 * depth**2 * extent**2 / seconds


@cache
def measure_peak_bandwidth(device: torch.device, threads: int) -> float:
    """Return bytes/s, read and written together, of copying a large tensor."""
    source = torch.zeros(COPY_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    seconds = measure_shortest_time(lambda: target.copy_(source), device, MEASURE_SECONDS)
    return 2 * COPY_BYTES[device.type] / seconds


def count_flops(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return FLOPs an image by torch's FlopCounterMode: of forward, and of forward and backward."""
    counts = []
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
            loss = F.cross_entropy(model(images), labels)
            if backward:
                loss.backward()
        counts.append(counter.get_total_flops() / len(images))
    model.zero_grad()
    return counts[0], counts[1]
