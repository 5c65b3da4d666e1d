"""Read a sweep, a folder of numbered runs: finished runs, failures and statistics over seeds."""

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlab.core.errors import UsageError
from cnnlab.core.files import path_exists, read_jsonl, write_json
from cnnlab.core.link_safety import open_to_append
from cnnlab.core.run_index import (
    START_FILE,
    RunSummary,
    find_newest_sweep,
    list_runs_in,
    read_run_state,
    read_run_summary,
)
from cnnlab.core.yaml_files import read_yaml


def find_sweep(name: str, outputs: Path) -> Path:
    """Return the folder of a sweep: a path, a name below `outputs`/train, or `last`.

    Raises UsageError where there is no such sweep.
    """
    if name == "last":
        return find_newest_sweep(outputs)
    for folder in (Path(name), outputs / "train" / name):
        if path_exists(folder / START_FILE) or path_exists(folder / "multirun.yaml"):
            return folder
    raise UsageError(f"no sweep {name}: with -m, resume= takes a sweep's folder, or last")


def record_start(sweep: Path) -> None:
    """Write when a sweep was started. Raises WriteFailed."""
    write_json(sweep / START_FILE, {"started": time.time()})


def list_numbered_runs(sweep: Path) -> list[Path]:
    """Return the runs of a sweep, by number."""
    runs = [path for path in list_runs_in(sweep) if path.name.isdecimal()]
    return sorted(runs, key=lambda folder: int(folder.name))


def append_failure(run: Path, failure: dict[str, Any]) -> None:
    """Append a failed run to its sweep's failed.jsonl; safe from several processes."""
    with open_to_append(run.parent / "failed.jsonl") as file:
        file.write(json.dumps({"run": run.name} | failure) + "\n")


def read_failures(sweep: Path) -> list[dict[str, Any]]:
    """Return the failures recorded since the sweep was last started or resumed."""
    rows = read_jsonl(sweep / "failed.jsonl")
    return [
        row
        for row in rows
        if isinstance(row.get("run"), str) and isinstance(row.get("exit_code"), int)
    ]


def read_overrides(folder: Path) -> list[str]:
    """Return the overrides that a run was started with; none where they cannot be read."""
    overrides: Any = read_yaml(folder / "overrides.yaml")
    return [str(word) for word in overrides] if isinstance(overrides, list) else []


@dataclass(frozen=True)
class SweepGroup:
    """Runs of a sweep that differ only in their seed."""

    overrides: tuple[str, ...]  # that distinguish them from the sweep's other runs
    seeds: tuple[str, ...]
    validation: tuple[float, ...]
    test: tuple[float, ...]

    @property
    def seed_override(self) -> str:
        """`seed=1,2,3`, or an empty string where no seed was given."""
        return f"seed={','.join(self.seeds)}" if any(self.seeds) else ""


def group_by_settings(sweep: Path) -> list[SweepGroup]:
    """Return the finished runs of a sweep grouped by their settings, in order."""
    finished = [
        (read_overrides(folder), read_run_summary(folder))
        for folder in list_numbered_runs(sweep)
        if read_run_state(folder) == "finished"
    ]
    shared = set.intersection(*(set(words) for words, _ in finished)) if finished else set()
    groups: dict[tuple[str, ...], list[tuple[str, RunSummary]]] = {}
    for words, summary in finished:
        seeds = [word.partition("=")[2] for word in words if word.startswith("seed=")]
        overrides = tuple(
            word for word in words if word not in shared and not word.startswith("seed=")
        )
        groups.setdefault(overrides, []).append((seeds[-1] if seeds else "", summary))
    return [
        SweepGroup(
            overrides,
            tuple(seed for seed, _ in members),
            tuple(run.validation for _, run in members if run.validation is not None),
            tuple(run.test for _, run in members if run.test is not None),
        )
        for overrides, members in groups.items()
    ]


def format_mean_std(values: tuple[float, ...]) -> str:
    """Return `99.53% ± 0.10`: mean and standard deviation (n - 1) of accuracies in 0..1."""
    if not values:
        return "-"
    deviation = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2%}{deviation}"


def format_sweep_table(sweep: Path) -> list[str]:
    """Return a line per group (settings, finished runs, validation and test accuracy), the failed
    runs, and the path of the file with their errors."""
    groups = {
        " ".join(group.overrides) or group.seed_override or "as configured": group
        for group in group_by_settings(sweep)
    }
    width = max(8, *(min(40, len(name)) for name in groups)) if groups else 0
    rows = [f"{'settings':{width}} runs  {'validation':>15}  {'test':>15}"] if groups else []
    for name, group in groups.items():
        validation, test = format_mean_std(group.validation), format_mean_std(group.test)
        rows.append(f"{name[:width]:{width}} {len(group.seeds):>4}  {validation:>15}  {test:>15}")
    failed = [
        row["run"]
        for row in read_failures(sweep)
        if read_run_state(sweep / row["run"]) != "finished"
    ]
    if failed:
        rows += [f"failed: {', '.join(failed)}; the reasons are in", str(sweep / "failed.jsonl")]
    return rows
