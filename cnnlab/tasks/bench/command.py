"""`cnnlab bench`: this machine's ceilings, and how much of them a training reaches."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from cnnlab.core.device import describe, environment, pick_device, synchronize, threads
from cnnlab.core.errors import NotHere, UsageError
from cnnlab.core.files import new_folder, write_json, write_whole
from cnnlab.core.run import Run
from cnnlab.core.schema import call
from cnnlab.engine import roofline
from cnnlab.engine.step_timer import PARTS, Laps
from cnnlab.tasks import trained_run
from cnnlab.tasks.train import command
from cnnlab.tasks.train.trainer import AUTOCAST, Settings, Training, assemble

PATIENCE = 3  # times the seconds asked for that a window of the log may take
TRACED = 5  # steps of a trace, after as many that are not


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """The keys that configs/bench.yaml has beside train.yaml's."""

    seconds: float
    batch_sizes: list[int] | None
    profile: bool
    brief: bool

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise ValueError(f"seconds must be above 0, not {self.seconds}")
        if any(size < 1 for size in self.batch_sizes or []):
            raise ValueError(f"batch_sizes must be at least 1 each, not {self.batch_sizes}")


def run(config: trained_run.Config, overrides: list[str]) -> float:
    """Measure, print, and write outputs/bench/<date>_<time>_<name>/; returns training pictures/s."""
    own = {key: config.pop(key) for key in Measuring.__annotations__ if key in config}
    m, s = call(Measuring, own, ""), call(Settings, config, "")
    if s.resume is not None or s.init is not None:
        raise UsageError("bench measures a training from its beginning: no resume, no init")
    s = replace(s, epochs=1_000_000, schedule={"name": "constant"})  # more than anyone will wait for
    top = limits(s)
    head = header(top, pick_device(s.device))
    if m.brief:
        table_head(head)
    else:
        print(head, flush=True)
    if m.brief and s.dataset["name"] == "folder" and not s.dataset.get("root"):
        print(f"{s.model['name']:<14}needs your pictures: cnnlab bench model={s.model['name']} dataset.root=DIR")
        return float("nan")
    with threads(s.threads):
        try:
            training = assemble(s)
        except NotHere:
            if not m.brief:
                raise
            print(f"{s.model['name']:<14}data not here; `cnnlab train model={s.model['name']}` fetches them")
            return float("nan")
        folder = new_folder(trained_run.outputs_folder(s.outputs) / "bench", s.name)
        found = explored(training, m, top, folder) | {"environment": environment(training.device)}
    write_json(folder / "bench.json", found)
    lines = [row(s, found)] if m.brief else [*report(s, found), f"\nnumbers: {folder / 'bench.json'}"]
    if m.profile:
        lines.append("trace.json, beside it, is for ui.perfetto.dev")
    print("\n".join(lines), flush=True)
    return found["training_pictures_per_s"]


def explored(training: Training, m: Measuring, top: dict[str, float], folder: Path) -> dict[str, Any]:
    """All that is measured of one training, to TensorBoard too."""
    s, log = training.settings, Run(folder)
    found = measured(training, log, m.seconds) | {"ceilings": top}
    found |= shares(training, found, top[s.precision])
    kept = ("forward_pictures_per_s", "training_pictures_per_s", "forward_share", "training_share")
    log.scalars("bench", {key: found[key] for key in kept}, 0)
    if m.batch_sizes:
        ones = [measured(assemble(replace(s, batch_size=size)), log, m.seconds) for size in m.batch_sizes]
        found["batch_sizes"] = {one["batch_size"]: one["training_pictures_per_s"] for one in ones}
    if m.profile:
        trace(training, folder / "trace.json")
    log.close()
    return found


def limits(s: Settings) -> dict[str, float]:
    """This machine's ceilings, with all its threads: operations a second by precision, and bytes a second."""
    device, count = pick_device(s.device), torch.get_num_threads()
    kinds = {"float32", s.precision} | ({"bfloat16"} if device.type == "cuda" else set())
    found = {kind: roofline.products(device, AUTOCAST[kind] or torch.float32, count) for kind in sorted(kinds)[::-1]}
    return found | {"memory": roofline.memory(device, count)}


def measured(training: Training, log: Run, seconds: float) -> dict[str, Any]:
    """The loop as `train` runs it, with what it logs, over whole windows of the log, the first of them not counted, or
    what of them is done in some times the seconds asked for; and forward alone."""
    laps, steps, first = Laps(training.device), 0, 0
    for report in training.reports(0, lap=laps, asked=lambda: sum(laps.host.values()) > PATIENCE * seconds):
        command.log(log, report)
        if not first:
            first = report.step
            laps.reset()
            continue
        laps("logging")
        steps = report.step - first
        if sum(laps.host.values()) > seconds:
            break
    taken, pictures = sum(laps.host.values()), steps * training.train.batch_size
    return {
        "model": training.settings.model["name"],
        "batch_size": training.train.batch_size,
        "steps": steps,
        "training_pictures_per_s": pictures / taken,
        "forward_pictures_per_s": forward_speed(training, seconds),
        "step_s": taken / steps,
        "host": {part: value / taken for part, value in laps.host.items()},
        "device": {part: value / taken for part, value in laps.on_device().items()},
        "measuring": laps.own_cost() * laps.count / taken,
    }


def forward_speed(training: Training, seconds: float) -> float:
    """Pictures/s of the network alone, as it is judged, on one batch."""
    pictures, _ = next(training.train.epoch(0))
    dtype, device, calls = AUTOCAST[training.settings.precision], training.device, 0
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


def shares(training: Training, found: dict[str, Any], ceiling: float) -> dict[str, float]:
    """What part of the ceiling forward and training reach, by torch's count of the network's operations."""
    pictures, labels = next(training.train.epoch(0))
    with torch.compiler.set_stance("force_eager"):
        forward, both = roofline.operations(training.model, pictures[:8], labels[:8])
    return {
        "forward_operations": forward,
        "training_operations": both,
        "forward_share": forward * found["forward_pictures_per_s"] / ceiling,
        "training_share": both * found["training_pictures_per_s"] / ceiling,
    }


def trace(training: Training, path: Path) -> None:
    """A few steps, operation by operation, as a file that ui.perfetto.dev shows."""
    steps = training.reports(0, asked=lambda: True)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would print words of its own
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if training.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    for _ in itertools.islice(steps, TRACED):
        pass
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in itertools.islice(steps, TRACED):
            pass
        synchronize(training.device)
    write_whole(path, lambda part: profile.export_chrome_trace(str(part)))


def header(top: dict[str, float], device: torch.device) -> str:
    """The machine and its ceilings."""
    rates = ", ".join(f"{value / 1e9:,.0f} GFLOP/s {kind}" for kind, value in top.items() if kind != "memory")
    return f"cnnlab bench: {describe(device)}\nproducts of matrices {rates}; memory {top['memory'] / 1e9:,.1f} GB/s"


@cache
def table_head(text: str) -> None:
    """What stands above the one-line rows, once."""
    print(f"{text}\n\n{'':37}forward         training        logging and")
    print(f"{'model':<14}{'data':<9}{'batch':>6}{'pictures/s':>13}{'of':>5}{'pictures/s':>12}{'of':>5}{'books':>12}")


def books(found: dict[str, Any]) -> float:
    """The share of a step that is not data, network or optimizer."""
    return found["host"]["bookkeeping"] + found["host"]["logging"]


def row(s: Settings, found: dict[str, Any]) -> str:
    return (
        f"{s.model['name'][:13]:<14}{s.dataset['name'][:8]:<9}{found['batch_size']:>6}"
        f"{found['forward_pictures_per_s']:>13,.0f}{found['forward_share']:>5.0%}"
        f"{found['training_pictures_per_s']:>12,.0f}{found['training_share']:>5.0%}{books(found):>12.1%}"
    )


def report(s: Settings, found: dict[str, Any]) -> Iterator[str]:
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
    for part in PARTS:
        yield f"  {part:<21}{found['host'][part]:>12.1%}" + (
            f"{found['device'][part]:>10.1%}" if found["device"] else ""
        )
    yield f"(measuring itself: {found['measuring']:.2%})"
    if sizes := found.get("batch_sizes"):
        yield f"\n{'batch':>8}{'training pictures/s':>22}"
        for size, rate in sizes.items():
            yield f"{size:>8,}{rate:>22,.0f}"
