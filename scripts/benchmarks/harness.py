"""What the benchmarks share: alternating rounds, medians, ratios, tables, record of the machine.

A benchmark is a module with `add_options(parser)` and `run(options)`, which returns what `--json`
writes. One that measures in processes of its own also has `measure_in_child(**arguments)`. torch
is imported where it is used only: the parent of a measured process has to stay small.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1] / "bench"
Measurements = dict[str, list[float]]  # candidate -> its value in each round


def measure_alternately(
    candidates: Mapping[str, Callable[[], float]], rounds: int, *, warm_up_rounds: int = 0
) -> Measurements:
    """Measure all candidates in turn, round after round; return the values of the rounds after the
    warm-up."""
    values: Measurements = {name: [] for name in candidates}
    for i in range(-warm_up_rounds, rounds):
        for name, measure in candidates.items():
            value = measure()
            if i >= 0:
                values[name].append(value)
    return values


def summarize(
    values: Measurements, reference: str | None = None, *, higher_is_better: bool = False
) -> dict[str, dict[str, Any]]:
    """Return median, min, max and all values of each candidate; for every candidate but the
    reference also how many times as fast the reference was, for each round and as the median of
    those ratios."""
    summary = {}
    for name, rounds in values.items():
        summary[name] = {
            "median": statistics.median(rounds),
            "min": min(rounds),
            "max": max(rounds),
            "rounds": rounds,
        }
        if reference is not None and name != reference:
            pairs = zip(values[reference], rounds, strict=True)
            ratios = [a / b if higher_is_better else b / a for a, b in pairs]
            summary[name] |= {"ratio": statistics.median(ratios), "ratio_rounds": ratios}
    return summary


class Table:
    """A Markdown table on stdout; each row is printed as soon as it is measured."""

    def __init__(self, *headers: str) -> None:
        print(f"\n| {' | '.join(headers)} |\n|{' --- |' * len(headers)}", flush=True)

    def add(self, *cells: object) -> None:
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def print_summary(
    summary: Mapping[str, Mapping[str, Any]], unit: str, *, form: str = ",.0f"
) -> None:
    """Print a row for each candidate; `form`: format of the values."""
    without_ratio = [name for name, row in summary.items() if "ratio" not in row]
    has_ratios = len(without_ratio) < len(summary)
    ratio_header = [f"{without_ratio[0]}, times as fast"] if has_ratios else []
    table = Table("", f"{unit}, median", "range", *ratio_header)
    for name, row in summary.items():
        median, low, high = (format(row[key], form) for key in ("median", "min", "max"))
        ratio = [f"{row['ratio']:.2f}" if "ratio" in row else ""] if has_ratios else []
        table.add(name, median, f"{low} to {high}", *ratio)


def run_child(
    benchmark: str, *, environment: Mapping[str, str] | None = None, **arguments: Any
) -> str:
    """Call a benchmark's `measure_in_child(**arguments)` in a new process; return what it prints.

    `arguments`: JSON values. Raises CalledProcessError if the process fails."""
    command = [sys.executable, str(BENCH), benchmark, "--child", json.dumps(arguments)]
    process = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )
    return process.stdout


def collect_record(device_name: str = "cpu") -> dict[str, Any]:
    """Return command, commit, versions and machine."""
    from cnnlab.core.device import pick_device
    from cnnlab.core.provenance import collect_environment

    return collect_environment(pick_device(device_name)) | {"command": sys.orig_argv}


def print_machine(*details: str, device_name: str = "cpu") -> None:
    """Print the machine, the commit and the versions that a table is of, then `details`."""
    record = collect_record(device_name)
    place = record["gpu"] or f"{record['processor']}, {record['cores']} cores"
    versions = f"Python {record['python']}, torch {record['packages']['torch']}"
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{place}, commit {record['commit']}\n{versions}{load}")
    print("; ".join(details), flush=True)


def write_results(path: Path, benchmark: str, options: argparse.Namespace, results: Any) -> None:
    """Write the results with the options and the record of the machine as JSON."""
    device_name = getattr(options, "device", "cpu")
    content = {
        "benchmark": benchmark,
        "options": {key: value for key, value in vars(options).items() if key != "json"},
        "results": results,
        "environment": collect_record(device_name),
    }
    path.write_text(json.dumps(content, indent=1, default=str) + "\n")
