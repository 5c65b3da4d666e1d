"""Measure training and inference throughput against the machine's peak."""

import itertools
import os
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from cnnlab.core.device import synchronize
from cnnlab.core.files import write_atomically
from cnnlab.core.precision import AUTOCAST_DTYPES, list_fast_precisions, use_precision
from cnnlab.core.run import Run
from cnnlab.engine import roofline
from cnnlab.engine.step_timer import StepTimer
from cnnlab.tasks.bench.settings import BenchSettings
from cnnlab.tasks.train.loop import log_step_report
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer, build_trainer

MAX_TIME_FACTOR = 3  # times the requested seconds that the measurement may take
TRACE_STEPS = 5  # steps in a trace, after as many that are not
TENSORBOARD_KEYS = (
    "forward_images_per_s",
    "training_images_per_s",
    "forward_utilization",
    "training_utilization",
)


def run_benchmark(
    trainer: Trainer, bench: BenchSettings, peaks: dict[str, float], folder: Path
) -> dict[str, Any]:
    """Measure one training; return the results and log the rates to TensorBoard."""
    settings, run = trainer.settings, Run(folder)
    result = measure_training(trainer, run, bench.seconds) | {"peaks": peaks}
    result |= compute_utilization(trainer, result, peaks[settings.precision])
    run.log_scalars("bench", {key: result[key] for key in TENSORBOARD_KEYS}, 0)
    if bench.batch_sizes:
        result["batch_sizes"] = {
            size: measure_batch_size(settings, size, run, bench.seconds)
            for size in bench.batch_sizes
        }
    if bench.profile:
        write_trace(trainer, folder / "trace.json")
    run.close()
    return result


def measure_batch_size(settings: TrainSettings, size: int, run: Run, seconds: float) -> float:
    """Return the training images/s with batches of `size`."""
    trainer = build_trainer(replace(settings, batch_size=size))
    return measure_training(trainer, run, seconds)["training_images_per_s"]


def measure_peaks(device: torch.device, precisions: list[str]) -> dict[str, float]:
    """Return the peak FLOP/s by precision, of those that the device has and of others that are
    asked for, and the memory bandwidth in bytes/s, on all threads."""
    threads = torch.get_num_threads()
    peaks = {
        name: roofline.measure_peak_flops(device, AUTOCAST_DTYPES[name] or torch.float32, threads)
        for name in dict.fromkeys([*list_fast_precisions(device), *precisions])
    }
    return peaks | {"memory_bandwidth": roofline.measure_peak_bandwidth(device, threads)}


def measure_training(trainer: Trainer, run: Run, seconds: float) -> dict[str, Any]:
    """Time the training loop and its logging, then the forward pass alone.

    Whole log windows are measured, after a first one that does not count, until `seconds` have
    passed; a window that takes MAX_TIME_FACTOR times as long is cut short.
    """
    timer, steps, first = StepTimer(trainer.device), 0, 0

    def is_overdue() -> bool:
        return sum(timer.host_seconds.values()) > MAX_TIME_FACTOR * seconds

    for report in trainer.fit(0, timer=timer, wants_report=is_overdue):
        log_step_report(run, report)
        if not first:
            first = report.step
            timer.reset()
            continue
        timer.mark("logging")
        steps = report.step - first
        if sum(timer.host_seconds.values()) > seconds:
            break
    total, batch_size = sum(timer.host_seconds.values()), trainer.train_batches.batch_size
    return {
        "model": trainer.settings.model["name"],
        "precision": trainer.settings.precision,
        "channels_last": trainer.settings.channels_last,
        "batch_size": batch_size,
        "steps": steps,
        "training_images_per_s": steps * batch_size / total,
        "forward_images_per_s": measure_forward_rate(trainer, seconds),
        "step_s": total / steps,
        "host": {phase: value / total for phase, value in timer.host_seconds.items()},
        "device": {phase: value / total for phase, value in timer.get_device_seconds().items()},
        "timing_overhead": timer.measure_overhead() * timer.num_marks / total,
    }


def measure_forward_rate(trainer: Trainer, seconds: float) -> float:
    """Return the images/s of the network alone, in eval mode, on one batch."""
    images, _ = next(trainer.train_batches.iterate_epoch(0))
    device, calls = trainer.device, 0
    trainer.model.eval()
    with torch.inference_mode(), use_precision(trainer.settings.precision, device):
        for _ in range(3):
            trainer.model(images)
        synchronize(device)
        began = perf_counter()
        while perf_counter() - began < seconds / 2 or not calls:
            trainer.model(images)
            calls += 1
        synchronize(device)
        elapsed = perf_counter() - began
    trainer.model.train()
    return calls * len(images) / elapsed


def compute_utilization(trainer: Trainer, result: dict[str, Any], peak: float) -> dict[str, float]:
    """Return FLOPs an image and the share of `peak` that forward and training reach.

    The FLOPs are torch's count of the network's operations.
    """
    images, labels = next(trainer.train_batches.iterate_epoch(0))
    with torch.compiler.set_stance("force_eager"):
        forward, training = roofline.count_flops(trainer.model, images[:8], labels[:8])
    return {
        "forward_flops": forward,
        "training_flops": training,
        "forward_utilization": forward * result["forward_images_per_s"] / peak,
        "training_utilization": training * result["training_images_per_s"] / peak,
    }


def write_trace(trainer: Trainer, path: Path) -> None:
    """Write a trace of a few steps, operation by operation, for ui.perfetto.dev."""
    reports = trainer.fit(0, wants_report=lambda: True)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would print messages of its own
    activities = [torch.profiler.ProfilerActivity.CPU]
    if trainer.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    for _ in itertools.islice(reports, TRACE_STEPS):
        pass
    with torch.profiler.profile(activities=activities) as profile:
        for _ in itertools.islice(reports, TRACE_STEPS):
            pass
        synchronize(trainer.device)
    write_atomically(path, lambda part: profile.export_chrome_trace(str(part)))
