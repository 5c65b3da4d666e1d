"""A sweep is a folder of numbered runs, begun by one command: what is done, what failed, and how seeds spread."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cnnlab.core.errors import UsageError
from cnnlab.core.files import path_exists, read_jsonl
from cnnlab.core.run_index import RunSummary, find_newest_sweep, read_run_state, read_run_summary


def find_sweep(name: str, outputs: Path) -> Path:
    """A sweep's folder, its name below `outputs`/train, or `last`. Raises UsageError where there is none."""
    if name == "last":
        return find_newest_sweep(outputs)
    for folder in (Path(name), outputs / "train" / name):
        if path_exists(folder / "multirun.yaml"):
            return folder
    raise UsageError(f"no sweep {name}: with -m, resume= takes a sweep's folder, or last")


def list_numbered_runs(sweep: Path) -> list[Path]:
    """Its runs, by number."""
    numbered = [path.parent for path in sweep.glob("*/state.json") if path.parent.name.isdecimal()]
    return sorted(numbered, key=lambda folder: int(folder.name))


def append_failure(run: Path, about: dict[str, Any]) -> None:
    """Add a run that failed to its sweep's failed.jsonl, whichever process it was in."""
    with (run.parent / "failed.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"run": run.name} | about) + "\n")


def read_failures(sweep: Path) -> list[dict[str, Any]]:
    """What `note_failure` noted since the sweep was last begun or gone on with."""
    rows = read_jsonl(sweep / "failed.jsonl")
    return [
        row
        for row in rows
        if isinstance(row.get("run"), str) and isinstance(row.get("exit_code"), int)
    ]


def read_overrides(folder: Path) -> list[str]:
    """The overrides that a run was begun with; none where they cannot be read."""
    try:
        words: Any = yaml.safe_load((folder / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    return [str(word) for word in words] if isinstance(words, list) else []


@dataclass(frozen=True)
class SweepGroup:
    """Runs of a sweep that differ in nothing but their seed."""

    overrides: tuple[str, ...]  # what sets them apart from the sweep's other runs
    seeds: tuple[str, ...]
    validation: tuple[float, ...]
    test: tuple[float, ...]

    @property
    def seed_override(self) -> str:
        """`seed=1,2,3`, or nothing where no seed was named."""
        return f"seed={','.join(self.seeds)}" if any(self.seeds) else ""


def group_by_settings(sweep: Path) -> list[SweepGroup]:
    """The finished runs of a sweep, by their settings, in order."""
    done = [
        (read_overrides(folder), read_run_summary(folder))
        for folder in list_numbered_runs(sweep)
        if read_run_state(folder) == "finished"
    ]
    shared = set.intersection(*(set(words) for words, _ in done)) if done else set()
    found: dict[tuple[str, ...], list[tuple[str, RunSummary]]] = {}
    for words, about in done:
        seeds = [word.partition("=")[2] for word in words if word.startswith("seed=")]
        own = tuple(word for word in words if word not in shared and not word.startswith("seed="))
        found.setdefault(own, []).append((seeds[-1] if seeds else "", about))
    return [
        SweepGroup(
            own,
            tuple(seed for seed, _ in members),
            tuple(about.validation for _, about in members if about.validation is not None),
            tuple(about.test for _, about in members if about.test is not None),
        )
        for own, members in found.items()
    ]


def format_mean_std(values: tuple[float, ...]) -> str:
    """`99.53% ± 0.10`: mean and standard deviation (n - 1) of accuracies between 0 and 1."""
    if not values:
        return "-"
    deviation = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2%}{deviation}"


def format_sweep_table(sweep: Path) -> list[str]:
    """Its groups, a line each: settings, finished runs, validation and test accuracy; and which runs failed."""
    made = [
        (" ".join(g.overrides) or g.seed_override or "as configured", g)
        for g in group_by_settings(sweep)
    ]
    width = max(8, *(min(40, len(what)) for what, _ in made)) if made else 0
    rows = [f"{'settings':{width}} runs  {'validation':>15}  {'test':>15}"] if made else []
    for what, g in made:
        rows.append(
            f"{what[:width]:{width}} {len(g.seeds):>4}  {format_mean_std(g.validation):>15}  {format_mean_std(g.test):>15}"
        )
    if failed := [
        row for row in read_failures(sweep) if read_run_state(sweep / row["run"]) != "finished"
    ]:
        rows.append(
            f"failed: {', '.join(row['run'] for row in failed)}; {sweep.name}/failed.jsonl says why"
        )
    return rows
