"""Measure training and inference throughput against the machine's peak."""

import itertools
import os
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from cnnlab.core.device import pick_device, synchronize
from cnnlab.core.files import write_atomically
from cnnlab.core.run import Run
from cnnlab.engine import roofline
from cnnlab.engine.step_timer import StepTimer
from cnnlab.tasks.bench.settings import BenchSettings
from cnnlab.tasks.train.loop import log_step_report as log_step
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import AUTOCAST_DTYPES, Trainer, build_trainer

MAX_TIME_FACTOR = 3  # times the seconds asked for that a window of the log may take


TRACE_STEPS = 5  # steps of a trace, after as many that are not


def run_benchmark(
    training: Trainer, m: BenchSettings, top: dict[str, float], folder: Path
) -> dict[str, Any]:
    """All that is measured of one training, to TensorBoard too."""
    s, log = training.settings, Run(folder)
    found = measure_training(training, log, m.seconds) | {"ceilings": top}
    found |= compute_utilization(training, found, top[s.precision])
    kept = ("forward_pictures_per_s", "training_pictures_per_s", "forward_share", "training_share")
    log.log_scalars("bench", {key: found[key] for key in kept}, 0)
    if m.batch_sizes:
        ones = [
            measure_training(build_trainer(replace(s, batch_size=size)), log, m.seconds)
            for size in m.batch_sizes
        ]
        found["batch_sizes"] = {one["batch_size"]: one["training_pictures_per_s"] for one in ones}
    if m.profile:
        write_trace(training, folder / "trace.json")
    log.close()
    return found


def measure_peaks(s: TrainSettings) -> dict[str, float]:
    """This machine's ceilings, with all its threads: operations a second by precision, and bytes a second."""
    device, count = pick_device(s.device), torch.get_num_threads()
    kinds = {"float32", s.precision} | ({"bfloat16"} if device.type == "cuda" else set())
    found = {
        kind: roofline.measure_peak_flops(device, AUTOCAST_DTYPES[kind] or torch.float32, count)
        for kind in sorted(kinds)[::-1]
    }
    return found | {"memory": roofline.measure_peak_bandwidth(device, count)}


def measure_training(training: Trainer, log: Run, seconds: float) -> dict[str, Any]:
    """The loop as `train` runs it, with what it logs, over whole windows of the log, the first of them not counted, or
    what of them is done in some times the seconds asked for; and forward alone."""
    laps, steps, first = StepTimer(training.device), 0, 0
    for report in training.fit(
        0,
        on_phase_end=laps,
        wants_report=lambda: sum(laps.host_seconds.values()) > MAX_TIME_FACTOR * seconds,
    ):
        log_step(log, report)
        if not first:
            first = report.step
            laps.reset()
            continue
        laps("logging")
        steps = report.step - first
        if sum(laps.host_seconds.values()) > seconds:
            break
    taken, pictures = sum(laps.host_seconds.values()), steps * training.train_batches.batch_size
    return {
        "model": training.settings.model["name"],
        "batch_size": training.train_batches.batch_size,
        "steps": steps,
        "training_pictures_per_s": pictures / taken,
        "forward_pictures_per_s": measure_forward_rate(training, seconds),
        "step_s": taken / steps,
        "host": {part: value / taken for part, value in laps.host_seconds.items()},
        "device": {part: value / taken for part, value in laps.get_device_seconds().items()},
        "measuring": laps.measure_overhead() * laps.num_marks / taken,
    }


def measure_forward_rate(training: Trainer, seconds: float) -> float:
    """Pictures/s of the network alone, as it is judged, on one batch."""
    pictures, _ = next(training.train_batches.iterate_epoch(0))
    dtype, device, calls = AUTOCAST_DTYPES[training.settings.precision], training.device, 0
    training.model.eval()
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for _ in range(3):
            training.model(pictures)
        synchronize(device)
        began = perf_counter()
        while perf_counter() - began < seconds / 2 or not calls:
            training.model(pictures)
            calls += 1
        synchronize(device)
        taken = perf_counter() - began
    training.model.train()
    return calls * len(pictures) / taken


def compute_utilization(
    training: Trainer, found: dict[str, Any], ceiling: float
) -> dict[str, float]:
    """What part of the ceiling forward and training reach, by torch's count of the network's operations."""
    pictures, labels = next(training.train_batches.iterate_epoch(0))
    with torch.compiler.set_stance("force_eager"):
        forward, both = roofline.count_flops(training.model, pictures[:8], labels[:8])
    return {
        "forward_operations": forward,
        "training_operations": both,
        "forward_share": forward * found["forward_pictures_per_s"] / ceiling,
        "training_share": both * found["training_pictures_per_s"] / ceiling,
    }


def write_trace(training: Trainer, path: Path) -> None:
    """A few steps, operation by operation, as a file that ui.perfetto.dev shows."""
    steps = training.fit(0, wants_report=lambda: True)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would print words of its own
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if training.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    for _ in itertools.islice(steps, TRACE_STEPS):
        pass
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in itertools.islice(steps, TRACE_STEPS):
            pass
        synchronize(training.device)
    write_atomically(path, lambda part: profile.export_chrome_trace(str(part)))
