"""Measure how long `cnnlab visualize RUN` takes for all its figures: whole processes.

The figures go below the run, as they always do.
"""

import argparse
import subprocess
import sys
from time import perf_counter
from typing import Any

from benchmarks.harness import measure_alternately, print_machine, print_summary, summarize


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=3)


def measure_seconds(run_folder: str) -> float:
    """Return the seconds of a whole process."""
    command = [sys.executable, "-m", "cnnlab", "visualize", run_folder]
    start = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def run(options: argparse.Namespace) -> dict[str, Any]:
    print_machine(f"{options.run}", f"{options.rounds} rounds")
    candidates = {"cnnlab visualize": lambda: measure_seconds(options.run)}
    summary = summarize(measure_alternately(candidates, options.rounds))
    print_summary(summary, "s", form=".1f")
    return {"seconds": summary}
