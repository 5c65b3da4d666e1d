"""`cnnlab bench`: the machine's measured peaks, and the share of them that a training reaches."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from cnnlab.core.device import describe_device, pick_device, use_threads
from cnnlab.core.errors import DataUnavailable, UsageError
from cnnlab.core.files import make_run_folder, resolve_outputs_folder, write_json
from cnnlab.core.precision import list_fast_precisions
from cnnlab.core.provenance import collect_environment
from cnnlab.core.schema import Config
from cnnlab.engine.step_timer import STEP_PHASES
from cnnlab.models import is_classifier
from cnnlab.tasks.bench.measure import measure_peaks, run_benchmark
from cnnlab.tasks.bench.settings import BenchSettings
from cnnlab.tasks.train.settings import TrainSettings, split_train_settings
from cnnlab.tasks.train.speed_trial import AUTO
from cnnlab.tasks.train.trainer import build_trainer

ENDLESS_EPOCHS = 1_000_000  # the measurement stops by the clock


def run(config: Config, overrides: list[str]) -> float:
    """Measure, print, and write outputs/bench/<date>_<time>_<name>/ for each precision; return the
    largest training images/s.

    Returns NaN where `one_line` is set and the training cannot be measured.
    """
    bench, settings = parse_bench_settings(config)
    device = pick_device(settings.device)
    is_auto = settings.precision == AUTO
    precisions: list[Any] = list_fast_precisions(device) if is_auto else [settings.precision]
    peaks = measure_peaks(device, precisions)
    print_header(format_machine(peaks, device), one_line=bench.one_line)
    model, dataset = settings.model["name"], settings.dataset
    if bench.one_line and dataset["name"] == "folder" and not dataset.get("root"):
        print(f"{model:<14}needs your images: cnnlab bench model={model} dataset.root=DIR")
        return float("nan")
    if bench.one_line and not is_classifier(settings.model):
        print(f"{model:<14}not measured: bench measures classifiers")
        return float("nan")
    try:
        variants = [replace(settings, precision=precision) for precision in precisions]
        return max(bench_training(bench, variant, peaks) for variant in variants)
    except DataUnavailable:
        if not bench.one_line:
            raise
        print(f"{model:<14}data not found; `cnnlab train model={model}` downloads them")
        return float("nan")


def bench_training(bench: BenchSettings, settings: TrainSettings, peaks: dict[str, float]) -> float:
    """Measure one training, print and write it; return images/s."""
    with use_threads(settings.threads):
        trainer = build_trainer(settings)
        folder = make_run_folder(resolve_outputs_folder(settings.outputs) / "bench", settings.name)
        result = run_benchmark(trainer, bench, peaks, folder)
        result["environment"] = collect_environment(trainer.device)
    write_json(folder / "bench.json", result)
    if bench.one_line:
        print(format_bench_row(settings, result), flush=True)
    else:
        print("\n".join(format_bench_report(settings, result)))
        print(f"\nnumbers: {folder / 'bench.json'}", flush=True)
    if bench.profile:
        print(f"trace, for ui.perfetto.dev:\n{folder / 'trace.json'}")
    return result["training_images_per_s"]


def parse_bench_settings(config: Config) -> tuple[BenchSettings, TrainSettings]:
    """Return bench's own settings and those of the training. Raises UsageError."""
    bench, settings = split_train_settings(config, BenchSettings)
    if settings.resume is not None or settings.init is not None:
        raise UsageError("bench measures a new training: resume and init do not apply")
    if not bench.one_line and not is_classifier(settings.model):
        raise UsageError(
            f"{settings.model['name']} is a style network: bench measures classifiers\n"
            "`cnnlab bench` measures all of them"
        )
    return bench, replace(settings, epochs=ENDLESS_EPOCHS, schedule={"name": "constant"})


def format_machine(peaks: dict[str, float], device: torch.device) -> str:
    """Return the lines that describe the machine and its measured peaks."""
    rates = ", ".join(
        f"{peak / 1e9:,.0f} GFLOP/s {precision}"
        for precision, peak in peaks.items()
        if precision != "memory_bandwidth"
    )
    bandwidth = f"{peaks['memory_bandwidth'] / 1e9:,.1f} GB/s"
    return (
        f"cnnlab bench: {describe_device(device)}\n"
        f"measured peak: {rates},\n{'':15}memory bandwidth {bandwidth}"
    )


def print_header(machine: str, *, one_line: bool) -> None:
    """Print the machine; before rows of one line, the head of their table too."""
    if one_line:
        print_bench_table_head(machine)
    else:
        print(machine, flush=True)


@cache
def print_bench_table_head(machine: str) -> None:
    """Print the machine and the head of the table of one-line rows, once a process."""
    print(f"{machine}\n\n{'':37}{'forward':>11}{'% of':>6}{'training':>11}{'% of':>6}{'book-':>8}")
    columns = f"{'images/s':>11}{'peak':>6}{'images/s':>11}{'peak':>6}{'keeping':>8}"
    print(f"{'model':<14}{'data':<8}{'precision':<9}{'batch':>6}{columns}")


def compute_bookkeeping_overhead(result: dict[str, Any]) -> float:
    """Return the share of a step that is not data, network or optimizer."""
    return result["host"]["bookkeeping"] + result["host"]["logging"]


def format_bench_row(settings: TrainSettings, result: dict[str, Any]) -> str:
    """Return one model's row of the table."""
    return (
        f"{settings.model['name'][:13]:<14}{settings.dataset['name'][:7]:<8}"
        f"{settings.precision:<9}{result['batch_size']:>6}"
        f"{result['forward_images_per_s']:>11,.0f}{result['forward_utilization']:>6.0%}"
        f"{result['training_images_per_s']:>11,.0f}{result['training_utilization']:>6.0%}"
        f"{compute_bookkeeping_overhead(result):>8.1%}"
    )


def format_bench_report(settings: TrainSettings, result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of one model's report."""
    yield (
        f"\n{settings.model['name']} on {settings.dataset['name']}, "
        f"batch size {result['batch_size']}, {settings.precision}"
    )
    for kind in ("forward", "training"):
        rate, flops = result[f"{kind}_images_per_s"], result[f"{kind}_flops"]
        yield (
            f"{kind:<10}{rate:>10,.0f} images/s{rate * flops / 1e9:>10,.1f} GFLOP/s"
            f"{result[f'{kind}_utilization']:>7.1%} of the measured peak"
        )
    head = f"\na step takes {result['step_s'] * 1000:.3g} ms"
    yield f"{head:<24}{'host':>12}" + (f"{'device':>10}" if result["device"] else "")
    for phase in STEP_PHASES:
        device = f"{result['device'][phase]:>10.1%}" if result["device"] else ""
        yield f"  {phase:<21}{result['host'][phase]:>12.1%}{device}"
    yield f"  timing overhead: {result['timing_overhead']:.2%}"
    if sizes := result.get("batch_sizes"):
        yield f"\n{'batch':>8}{'training images/s':>22}"
        for size, rate in sizes.items():
            yield f"{size:>8,}{rate:>22,.0f}"
