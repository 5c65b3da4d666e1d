"""Compare the learning rate that `cnnlab lr-find` suggests with a grid of rates.

Validation accuracy of short trainings. Runs go below FOLDER; those that are there already are not
made again. Constant rates; 10 epochs on digits, 2 of mnist_mlp, 1 of mnist_cnn, seed 1. About six
minutes on two cores; MNIST from CNNLAB_DATA.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import Table, print_machine

CASES = {
    "digits_cnn, adam": ["model=digits_cnn", "epochs=10"],
    "digits_cnn, sgd": ["model=digits_cnn", "epochs=10", "optim=sgd"],
    "mnist_mlp, adam": ["model=mnist_mlp", "epochs=2"],
    "mnist_mlp, sgd": ["model=mnist_mlp", "epochs=2", "optim=sgd"],
    "mnist_cnn, adam": ["model=mnist_cnn", "epochs=1"],
}
GRID = {"adam": [0.0003, 0.001, 0.003, 0.01, 0.03], "sgd": [0.003, 0.01, 0.03, 0.1, 0.3]}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", nargs="*", default=list(CASES), help="which; all")


def run_cnnlab(*words: str) -> None:
    """Run a command; what it prints goes to stderr."""
    subprocess.run([sys.executable, "-m", "cnnlab", *words], stdout=sys.stderr, check=False)


def find_suggested_lr(folder: Path, overrides: list[str]) -> float:
    """Return what lr-find suggests; it runs once."""
    if not list(folder.glob("lr-find/*/figures/lr_find.json")):
        run_cnnlab("lr-find", *overrides, f"outputs={folder}")
    (path,) = folder.glob("lr-find/*/figures/lr_find.json")
    return json.loads(path.read_text())["suggested_lr"]


def train_and_validate(folder: Path, overrides: list[str]) -> float | None:
    """Return the validation accuracy of a training, which runs once; None if it did not finish."""
    if not list(folder.glob("train/*/state.json")):
        run_cnnlab("train", *overrides, f"outputs={folder}")
    paths = list(folder.glob("train/*/result.json"))
    return json.loads(paths[0].read_text())["validation"]["accuracy"] if paths else None


def measure(case: str, folder: Path) -> dict[str, Any]:
    """Return the suggested rate and {rate: validation accuracy} of it and the grid."""
    overrides = CASES[case]
    suggested = float(f"{find_suggested_lr(folder, overrides):.2g}")
    accuracies = {
        lr: train_and_validate(
            folder / f"{lr:g}", [*overrides, "schedule=constant", f"optim.lr={lr:g}"]
        )
        for lr in [*GRID[case.split()[-1]], suggested]
    }
    return {"case": case, "suggested_lr": suggested, "accuracies": accuracies}


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    print_machine("validation accuracy, seed 1")
    table = Table(
        "network, optimizer", "suggested", "reaches", "best of the grid", "reaches", "other rates"
    )
    results = []
    for case in options.cases:
        result = measure(case, options.folder / case.replace(", ", "_"))
        results.append(result)
        accuracies = dict(result["accuracies"])
        reached = accuracies.pop(result["suggested_lr"])
        best = max(accuracies, key=lambda lr: accuracies[lr] or 0)
        others = ", ".join(
            f"{lr:g}: {f'{accuracy:.2%}' if accuracy else 'diverged'}"
            for lr, accuracy in accuracies.items()
            if lr != best
        )
        best_cells = (f"{best:g}", f"{accuracies[best] or 0:.2%}")
        table.add(
            f"`{case}`", f"{result['suggested_lr']:g}", f"{reached or 0:.2%}", *best_cells, others
        )
    return results
