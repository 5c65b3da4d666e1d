"""Measure the test accuracy and the seconds of whole trainings, seed by seed.

    python scripts/bench accuracy model=mnist_fast --seeds 10 --peer 'python examples/mnist/main.py'

Each training is a process of its own with its own seed, and evaluates the test set once, at its
end. Seconds are of the whole process. `--peer` is the command of another program, which prints its
accuracy as a number of hits, `9912/10000`; its last one counts. It runs once before the first
training and `--peer-runs` - 1 times between them. Rows are appended to results.jsonl in `--out`,
and what is there is not run again. The mean has a 95 % interval by Student's t.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev
from time import perf_counter
from typing import Any

from benchmarks.harness import Table, print_machine

HEADERS = ("program", "seed", "test accuracy", "s of training", "s of the process")
PEER = "peer"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE", help="of `cnnlab train`")
    parser.add_argument("--seeds", type=int, default=3, help="trainings, with seeds 1, 2, ...")
    parser.add_argument("--peer", help="command of another program")
    parser.add_argument("--peer-runs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_accuracy"))


def train(overrides: list[str], seed: int, out: Path) -> dict[str, Any]:
    """Train with a seed in a process of its own; return its row."""
    folder = out / f"seed_{seed}"
    words = [*overrides, f"seed={seed}", f"outputs={folder}"]
    began = perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cnnlab", "train", *words], check=True, stdout=subprocess.DEVNULL
    )
    seconds = perf_counter() - began
    (path,) = folder.glob("train/*/result.json")
    result = json.loads(path.read_text())
    return {
        "program": "cnnlab",
        "seed": seed,
        "accuracy": result["test"]["accuracy"],
        "training_s": result["seconds"],
        "process_s": seconds,
    }


def run_peer(command: str, number: int) -> dict[str, Any]:
    """Run the other program; return its row."""
    began = perf_counter()
    process = subprocess.run(shlex.split(command), check=True, stdout=subprocess.PIPE, text=True)
    seconds = perf_counter() - began
    hits, total = re.findall(r"(\d+)/(\d{4,})", process.stdout)[-1]
    accuracy = int(hits) / int(total)
    return {"program": PEER, "seed": number, "accuracy": accuracy, "process_s": seconds}


def format_mean(values: list[float]) -> str:
    """Return a mean of percentages with its 95 % interval, `99.41 % ± 0.03 (n = 10)`."""
    from scipy.stats import t

    mean, n = 100 * fmean(values), len(values)
    if n < 2:
        return f"{mean:.2f} % (n = 1)"
    half = 100 * stdev(values) / n**0.5 * float(t.ppf(0.975, n - 1))
    return f"{mean:.2f} % ± {half:.2f} (n = {n})"


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    print_machine(f"cnnlab train {' '.join(options.overrides)}", f"peer: {options.peer or 'none'}")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    table = Table(*HEADERS)
    peer_runs = options.peer_runs if options.peer else 0
    for number in range(1, max(options.seeds, peer_runs) + 1):
        for program, count in ((PEER, peer_runs), ("cnnlab", options.seeds)):
            if number > count:
                continue
            row = next((r for r in rows if (r["program"], r["seed"]) == (program, number)), None)
            if row is None:
                is_peer = program == PEER
                row = (
                    run_peer(options.peer, number)
                    if is_peer
                    else train(options.overrides, number, options.out)
                )
                rows.append(row)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            training = f"{row['training_s']:.1f}" if "training_s" in row else "-"
            table.add(
                row["program"],
                row["seed"],
                f"{row['accuracy']:.2%}",
                training,
                f"{row['process_s']:.1f}",
            )
    summary = Table("program", "mean test accuracy", "s of the process, mean")
    for program in (PEER, "cnnlab"):
        own = [row for row in rows if row["program"] == program]
        if own:
            seconds = fmean(row["process_s"] for row in own)
            summary.add(program, format_mean([row["accuracy"] for row in own]), f"{seconds:.1f}")
    return rows
