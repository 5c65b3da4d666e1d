"""`cnnlab bench`: this machine's ceilings, and how much of them a training reaches."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from cnnlab.core.device import describe, pick_device, threads
from cnnlab.core.errors import NotHere, UsageError
from cnnlab.core.files import new_folder, outputs_folder, write_json
from cnnlab.core.provenance import environment
from cnnlab.core.schema import Config, call
from cnnlab.engine.step_timer import PARTS
from cnnlab.tasks.bench.measure import Measuring, explored, limits
from cnnlab.tasks.train.settings import Settings
from cnnlab.tasks.train.trainer import assemble


def run(config: Config, overrides: list[str]) -> float:
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
        folder = new_folder(outputs_folder(s.outputs) / "bench", s.name)
        found = explored(training, m, top, folder) | {"environment": environment(training.device)}
    write_json(folder / "bench.json", found)
    lines = [row(s, found)] if m.brief else [*report(s, found), f"\nnumbers: {folder / 'bench.json'}"]
    if m.profile:
        lines.append("trace.json, beside it, is for ui.perfetto.dev")
    print("\n".join(lines), flush=True)
    return found["training_pictures_per_s"]


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
