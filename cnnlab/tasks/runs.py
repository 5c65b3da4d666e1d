"""List the runs (`cnnlab runs`). Imports neither torch nor Hydra, so that it answers at once."""

import json
import time
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from cnnlab.core.files import path_exists
from cnnlab.core.quoting import printable
from cnnlab.core.run_index import (
    UNREADABLE,
    format_train_command,
    list_runs,
    read_change_time,
    read_run_state,
    read_run_summary,
)
from cnnlab.core.sweep_index import format_sweep_table, read_overrides

AGE_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def run(outputs: Path, *, as_json: bool) -> None:
    """Print every run below `outputs`, the newest last, with its state, accuracy and age."""
    rows = [summarize_run(folder) for folder in list_runs(outputs)]
    rows = [row for row in rows if path_exists(Path(row["folder"]) / "state.json")]  # not removed
    if as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no runs below {outputs}/train; {format_train_command(outputs)} makes one")
    else:
        print_table(rows, outputs)


def print_table(rows: list[dict[str, Any]], outputs: Path) -> None:
    """Print a line per run, and below each sweep's runs its table."""
    width = max(len(get_run_name(row, outputs)) for row in rows)
    print(f"{'run':{width}} {'model':<10} {'data':<8}{'state':<12}{'score':>8} {'age':>4}")
    for sweep, members in groupby(rows, key=lambda row: row["sweep"]):
        for row in members:
            print(
                f"{printable(get_run_name(row, outputs)):{width}} "
                f"{printable(row['model'])[:10]:<10} {printable(row['dataset'])[:7]:<8}"
                f"{row['state']:<12}{format_run_score(row):>8} {format_age(row['age_s']):>4}"
            )
        for line in format_sweep_table(Path(sweep)) if sweep else []:
            print(f"    {line}")
    print("score: accuracy on the test set; v: on the validation set, so far")


def summarize_run(folder: Path) -> dict[str, Any]:
    """Return what is known of a run, ready for JSON."""
    summary = read_run_summary(folder)
    is_readable = "?" not in (summary.model, summary.dataset)
    return asdict(summary) | {
        "folder": str(folder),
        "sweep": str(folder.parent) if folder.parent.name != "train" else None,
        "overrides": read_overrides(folder),
        "state": read_run_state(folder) if is_readable else UNREADABLE,
        "age_s": max(0.0, time.time() - read_change_time(folder)),
    }


def get_run_name(row: dict[str, Any], outputs: Path) -> str:
    return str(Path(row["folder"]).relative_to(outputs / "train"))


def format_run_score(row: dict[str, Any]) -> str:
    if row["test"] is not None:
        return f"{row['test']:.2%}"
    return f"v{row['validation']:.2%}" if row["validation"] is not None else "-"


def format_age(seconds: float) -> str:
    """Return an age such as `3d`, `5h`, `12m` or `40s`."""
    unit, size = next((pair for pair in AGE_UNITS if seconds >= pair[1]), AGE_UNITS[-1])
    return f"{int(seconds // size)}{unit}"
