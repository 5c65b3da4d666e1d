"""Measure how soon cnnlab responds: help, completion, and the first training step.

Whole processes, `cnnlab train` up to its first step and importing torch alone among them, in
alternation; seconds, after a round that is not counted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness import measure_alternately, print_machine, print_summary, summarize

FIRST_STEP = """
import os, sys
import cnnlab.engine.optim
cnnlab.engine.optim.FiniteGuard.step = lambda *_: os._exit(0)
from cnnlab import cli
sys.argv = ["cnnlab", "train"]
cli.main()
"""
COMPLETION = {
    "_CNNLAB_COMPLETE": "complete_bash",
    "COMP_WORDS": "cnnlab train mod",
    "COMP_CWORD": "2",
}
COMMANDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "cnnlab --help": (["cnnlab", "--help"], {}),
    "cnnlab train --help": (["cnnlab", "train", "--help"], {}),
    "completion": (["cnnlab"], COMPLETION),
    "cnnlab runs": (["cnnlab", "runs"], {}),
    "import torch": (["python", "-c", "import torch"], {}),
    "train to first step": (["python", "-c", FIRST_STEP], {}),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)


def measure_seconds(words: list[str], environment: dict[str, str], folder: str) -> float:
    """Return the seconds of a whole process, with the programs beside this Python."""
    program = Path(sys.executable).with_name(words[0])
    start = perf_counter()
    subprocess.run(
        [program, *words[1:]],
        env=os.environ | environment,
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return perf_counter() - start


def run(options: argparse.Namespace) -> dict[str, Any]:
    print_machine(f"seconds, {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        candidates = {
            name: partial(measure_seconds, words, environment, folder)
            for name, (words, environment) in COMMANDS.items()
        }
        values = measure_alternately(candidates, options.rounds, warm_up_rounds=1)
    summary = summarize(values)
    print_summary(summary, "s", form=".2f")
    pairs = zip(values["train to first step"], values["import torch"], strict=True)
    difference = statistics.median(first_step - torch for first_step, torch in pairs)
    print(f"\ntrain to first step, beyond import torch: {difference:.2f} s")
    return {"seconds": summary, "first_step_beyond_import_torch": difference}
