"""`cnnlab runs`: the runs there are. No torch, no Hydra: it answers at once."""

import json
import time
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from cnnlab.core.quoting import printable
from cnnlab.core.run_index import list_runs, read_run_state, read_run_summary
from cnnlab.core.sweep_index import format_sweep_table, read_overrides

AGE_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def run(outputs: Path, *, as_json: bool) -> None:
    """Print every run below `outputs`, the newest last, with its state, score and age."""
    rows = [summarize_run(folder) for folder in list_runs(outputs)]
    if as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no runs below {outputs}/train; `cnnlab train` makes one")
    else:
        width = max(len(get_run_name(one, outputs)) for one in rows)
        print(f"{'run':{width}} {'model':<10} {'data':<8}{'state':<12}{'score':>8} {'age':>4}")
        for sweep, members in groupby(rows, key=lambda one: one["sweep"]):
            for one in members:
                about = f"{printable(one['model'])[:10]:<10} {printable(one['dataset'])[:7]:<8}{one['state']:<12}"
                print(
                    f"{printable(get_run_name(one, outputs)):{width}} {about}{format_run_score(one):>8} {format_age(one['age_s']):>4}"
                )
            for line in format_sweep_table(Path(sweep)) if sweep else []:
                print(f"    {line}")
        print("score: accuracy on the test set; v: on the validation set, so far")


def summarize_run(folder: Path) -> dict[str, Any]:
    """What is known of a run, ready for JSON."""
    changed = (folder / "state.json").stat().st_mtime
    sweep = str(folder.parent) if folder.parent.name != "train" else None
    known = asdict(read_run_summary(folder)) | {
        "folder": str(folder),
        "sweep": sweep,
        "overrides": read_overrides(folder),
    }
    return known | {"state": read_run_state(folder), "age_s": max(0.0, time.time() - changed)}


def get_run_name(one: dict[str, Any], outputs: Path) -> str:
    return str(Path(one["folder"]).relative_to(outputs / "train"))


def format_run_score(one: dict[str, Any]) -> str:
    if one["test"] is not None:
        return f"{one['test']:.2%}"
    return f"v{one['validation']:.2%}" if one["validation"] is not None else "-"


def format_age(seconds: float) -> str:
    """`3d`, `5h`, `12m`, `40s`."""
    unit, size = next((pair for pair in AGE_UNITS if seconds >= pair[1]), AGE_UNITS[-1])
    return f"{int(seconds // size)}{unit}"
