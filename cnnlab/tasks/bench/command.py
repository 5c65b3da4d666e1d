"""`cnnlab bench`: this machine's ceilings, and how much of them a training reaches."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from cnnlab.core.device import describe_device, pick_device, use_threads
from cnnlab.core.errors import DataUnavailable, UsageError
from cnnlab.core.files import make_run_folder, resolve_outputs_folder, write_json
from cnnlab.core.provenance import collect_environment
from cnnlab.core.schema import Config, call_checked
from cnnlab.engine.step_timer import STEP_PHASES
from cnnlab.tasks.bench.measure import measure_peaks, run_benchmark
from cnnlab.tasks.bench.settings import BenchSettings
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import build_trainer


def run(config: Config, overrides: list[str]) -> float:
    """Measure, print, and write outputs/bench/<date>_<time>_<name>/; returns training pictures/s."""
    own = {key: config.pop(key) for key in BenchSettings.__annotations__ if key in config}
    m, s = call_checked(BenchSettings, own, ""), call_checked(TrainSettings, config, "")
    if s.resume is not None or s.init is not None:
        raise UsageError("bench measures a training from its beginning: no resume, no init")
    s = replace(
        s, epochs=1_000_000, schedule={"name": "constant"}
    )  # more than anyone will wait for
    top = measure_peaks(s)
    head = format_machine(top, pick_device(s.device))
    if m.one_line:
        print_bench_table_head(head)
    else:
        print(head, flush=True)
    if m.one_line and s.dataset["name"] == "folder" and not s.dataset.get("root"):
        print(
            f"{s.model['name']:<14}needs your pictures: cnnlab bench model={s.model['name']} dataset.root=DIR"
        )
        return float("nan")
    with use_threads(s.threads):
        try:
            training = build_trainer(s)
        except DataUnavailable:
            if not m.one_line:
                raise
            print(
                f"{s.model['name']:<14}data not here; `cnnlab train model={s.model['name']}` fetches them"
            )
            return float("nan")
        folder = make_run_folder(resolve_outputs_folder(s.outputs) / "bench", s.name)
        found = run_benchmark(training, m, top, folder) | {
            "environment": collect_environment(training.device)
        }
    write_json(folder / "bench.json", found)
    lines = (
        [format_bench_row(s, found)]
        if m.one_line
        else [*format_bench_report(s, found), f"\nnumbers: {folder / 'bench.json'}"]
    )
    if m.profile:
        lines.append("trace.json, beside it, is for ui.perfetto.dev")
    print("\n".join(lines), flush=True)
    return found["training_pictures_per_s"]


def format_machine(top: dict[str, float], device: torch.device) -> str:
    """The machine and its ceilings."""
    rates = ", ".join(
        f"{value / 1e9:,.0f} GFLOP/s {kind}" for kind, value in top.items() if kind != "memory"
    )
    return f"cnnlab bench: {describe_device(device)}\nproducts of matrices {rates}; memory {top['memory'] / 1e9:,.1f} GB/s"


@cache
def print_bench_table_head(text: str) -> None:
    """What stands above the one-line rows, once."""
    print(f"{text}\n\n{'':37}forward         training        logging and")
    print(
        f"{'model':<14}{'data':<9}{'batch':>6}{'pictures/s':>13}{'of':>5}{'pictures/s':>12}{'of':>5}{'books':>12}"
    )


def compute_bookkeeping_overhead(found: dict[str, Any]) -> float:
    """The share of a step that is not data, network or optimizer."""
    return found["host"]["bookkeeping"] + found["host"]["logging"]


def format_bench_row(s: TrainSettings, found: dict[str, Any]) -> str:
    return (
        f"{s.model['name'][:13]:<14}{s.dataset['name'][:8]:<9}{found['batch_size']:>6}"
        f"{found['forward_pictures_per_s']:>13,.0f}{found['forward_share']:>5.0%}"
        f"{found['training_pictures_per_s']:>12,.0f}{found['training_share']:>5.0%}{compute_bookkeeping_overhead(found):>12.1%}"
    )


def format_bench_report(s: TrainSettings, found: dict[str, Any]) -> Iterator[str]:
    """One model, line by line."""
    yield f"\n{s.model['name']} on {s.dataset['name']}, batches of {found['batch_size']}, {s.precision}"
    for kind in ("forward", "training"):
        rate, operations = found[f"{kind}_pictures_per_s"], found[f"{kind}_operations"]
        yield (
            f"{kind:<10}{rate:>10,.0f} pictures/s{rate * operations / 1e9:>10,.1f} GFLOP/s"
            f"{found[f'{kind}_share']:>7.1%} of the ceiling"
        )
    head = f"\na step takes {found['step_s'] * 1000:.3g} ms"
    yield f"{head:<24}{'host':>12}" + (f"{'device':>10}" if found["device"] else "")
    for part in STEP_PHASES:
        yield f"  {part:<21}{found['host'][part]:>12.1%}" + (
            f"{found['device'][part]:>10.1%}" if found["device"] else ""
        )
    yield f"(measuring itself: {found['measuring']:.2%})"
    if sizes := found.get("batch_sizes"):
        yield f"\n{'batch':>8}{'training pictures/s':>22}"
        for size, rate in sizes.items():
            yield f"{size:>8,}{rate:>22,.0f}"
