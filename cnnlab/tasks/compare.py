"""`cnnlab compare`: runs, or groups of seeds, side by side."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import Any

from cnnlab.core.errors import UsageError
from cnnlab.core.files import new_folder
from cnnlab.core.progress import clock
from cnnlab.core.run import Run
from cnnlab.core.schema import call
from cnnlab.core.sweep import spread
from cnnlab.core.text import plain
from cnnlab.engine.curves import Crossing
from cnnlab.engine.metrics import paired, wilson
from cnnlab.tasks import parts
from cnnlab.tasks.groups import METRICS, Group, differences, grouped, named, read, said
from cnnlab.viz.figures import Line, curves_figure

MARGIN = 16  # letters before a table's first column


@dataclass(frozen=True, kw_only=True)
class Settings:
    """configs/compare.yaml's keys and their types."""

    runs: list[str]
    thresholds: list[float]
    consecutive: int
    name: str
    json: bool
    outputs: str

    def __post_init__(self) -> None:
        if not all(0 < threshold <= 1 for threshold in self.thresholds):
            raise ValueError(f"thresholds must be above 0 and at most 1, not {self.thresholds}")
        if self.consecutive < 1:
            raise ValueError(f"consecutive must be at least 1, not {self.consecutive}")


def run(config: parts.Config, overrides: list[str]) -> None:
    """Compare, write outputs/compare/<date>_<time>_<name>/ and print."""
    s = call(Settings, config, "")
    groups = grouped([read(folder) for folder in named(s.runs, parts.outputs_folder(s.outputs))])
    different = differences(groups)
    metrics = shared_metrics(groups)
    found = {"groups": [numbers(group, s) for group in groups], "differ": different, "paired": pairs(groups)}
    folder = new_folder(parts.outputs_folder(s.outputs) / "compare", s.name)
    write(folder, groups, metrics, found)
    if s.json:
        print(json.dumps(found | {"folder": str(folder)}))
    else:
        report(groups, different, found, s)
        print(f"\nnumbers and figure: {folder}")


def shared_metrics(groups: list[Group]) -> list[str]:
    """The metrics that all runs have. Raises UsageError where there is none."""
    shared = [metric for metric in METRICS if all(metric in group.bands for group in groups)]
    if shared:
        return shared
    had = [f"{one.folder} has {', '.join(one.curves) or 'none'}" for group in groups for one in group.runs]
    raise UsageError(f"these runs share no metric: {'; '.join(had)}")


def numbers(group: Group, s: Settings) -> dict[str, Any]:
    """All that is said of a group, ready for JSON."""
    crossings = {
        metric: {
            f"{threshold:g}": [asdict(one) for one in group.crossings(metric, threshold, s.consecutive)]
            for threshold in s.thresholds
        }
        for metric in ("validation_accuracy", "train_accuracy")
    }
    pictures = len(group.hits[0]) if group.hits is not None else 0
    return {
        "label": group.label,
        "runs": [str(one.folder) for one in group.runs],
        "seeds": [one.config.get("seed") for one in group.runs],
        "test": group.accuracies("test"),
        "test_interval_95": [wilson(int(row.sum()), pictures) for row in group.hits] if group.hits is not None else [],
        "validation": group.accuracies("validation"),
        "reached": crossings,
        "curves": {metric: asdict(one) for metric, one in group.bands.items()},
    }


def pairs(groups: list[Group]) -> list[dict[str, Any]]:
    """Every other group against the first, on the same test pictures; why not, where that cannot be."""
    rows: list[dict[str, Any]] = []
    first = groups[0]
    for other in groups[1:]:
        row: dict[str, Any] = {"first": first.label, "second": other.label}
        if first.hits is None or other.hits is None:
            row["missing"] = "not all of these runs are finished, with their answers saved"
        elif first.runs[0].config["dataset"]["name"] != other.runs[0].config["dataset"]["name"]:
            row["missing"] = "they were scored on different data sets"
        elif first.hits.shape[1] != other.hits.shape[1]:
            row["missing"] = "they were scored on different test sets"
        else:
            row |= paired(first.hits, other.hits) | {"pictures": first.hits.shape[1]}
        rows.append(row)
    return rows


def write(folder: Path, groups: list[Group], metrics: list[str], found: dict[str, Any]) -> None:
    """compare.json, the figure, and each group's curves for TensorBoard."""
    wanted = [metric for metric in ("train_loss", "validation_accuracy") if metric in metrics] or metrics[:1]
    panels = []
    for metric in wanted:
        error = metric == "validation_accuracy"
        lines = []
        for group in groups:
            one = group.bands[metric]
            mean = tuple(100 * (1 - value) for value in one.mean) if error else one.mean
            deviation = tuple(100 * value for value in one.deviation) if error else one.deviation
            lines.append(Line(group.label, one.steps, one.seconds, mean, deviation))
        panels.append(("validation error, %" if error else METRICS[metric][1], lines))
    run = Run(folder)
    try:
        run.figure("compare", curves_figure(panels, title(groups)), 0, found)
    finally:
        run.close()
    for number, group in enumerate(groups):
        follow(folder / "curves" / f"{number}_{''.join(c if c.isalnum() else '_' for c in group.label)[:60]}", group)


def follow(folder: Path, group: Group) -> None:
    """A group's mean curves as a run of their own for TensorBoard, by step and by seconds of training."""
    folder.mkdir(parents=True)
    run = Run(folder)
    try:
        for metric, one in group.bands.items():
            for step, seconds, value in zip(one.steps, one.seconds, one.mean, strict=True):
                run.elapsed_s = seconds
                run.scalars("compare", {metric: value}, step)
    finally:
        run.close()


def title(groups: list[Group]) -> str:
    """What the figure shows: how far each came."""
    last = [
        f"{group.label} {1 - group.bands['validation_accuracy'].mean[-1]:.1%}"
        for group in groups
        if "validation_accuracy" in group.bands
    ]
    text = "Validation error at the end: " + ", ".join(last) if last else "Training"
    return "\n".join(wrap(text, 100, max_lines=3, placeholder=" …"))


def report(groups: list[Group], different: dict[str, list[Any]], found: dict[str, Any], s: Settings) -> None:
    """The tables, for a terminal of 80 columns."""
    runs = sum(len(group.runs) for group in groups)
    print(f"cnnlab compare: {runs} run{'s' * (runs != 1)} in {len(groups)} group{'s' * (len(groups) != 1)}")
    width = min(34, max(12, *(len(group.label) for group in groups)))
    names = [group.label if len(group.label) <= width else group.label[: width - 1] + "…" for group in groups]
    print(f"\n{'':{width}} runs {'test':>16} {'validation':>16}")
    for name, group in zip(names, groups, strict=True):
        scores = [spread(tuple(group.accuracies(split))) for split in ("test", "validation")]
        print(f"{name:{width}} {len(group.runs):>4} {scores[0]:>16} {scores[1]:>16}")
    short = {group.label: name for group, name in zip(groups, names, strict=True)}
    for row in found["paired"]:
        print(pair_line(row | {key: short[row[key]] for key in ("first", "second")}))
    for metric in ("validation_accuracy", "train_accuracy"):
        print_crossings(metric, groups, s)
    print("\nThey differ in:" if different else "\nTheir settings are the same.")
    for key, values in different.items():
        print(f"  {key:28} {'  '.join(plain(said(value)) for value in values)}")


def pair_line(row: dict[str, Any]) -> str:
    """What a paired test says, or why there is none."""
    if "missing" in row:
        return f"{row['second']} against {row['first']}: no paired test, {row['missing']}"
    gain, low, high = (100 * share for share in (row["difference"], *row["interval_95"]))
    return (
        f"{row['second']} against {row['first']},\n  same {row['pictures']:,} test pictures: "
        f"{gain:+.2f} points (95 % {low:+.2f} to {high:+.2f}), p = {row['p']:.2g}"
    )


def print_crossings(metric: str, groups: list[Group], s: Settings) -> None:
    """Steps and time to each threshold, a line a group, below its name where that is long."""
    if not s.thresholds or not any(metric in group.bands for group in groups):
        return
    print(f"\naccuracy of {METRICS[metric][1]}: steps and time to")
    print(" " * MARGIN + "".join(f"{threshold:>16.4g}" for threshold in s.thresholds))
    for group in groups:
        cells = [reached(group.crossings(metric, t, s.consecutive), len(group.runs)) for t in s.thresholds]
        name = group.label if len(group.label) < MARGIN else f"{group.label}\n{'':{MARGIN}}"
        print(f"{name:{MARGIN}}" + "".join(f"{cell:>16}" for cell in cells))


def reached(crossings: list[Crossing], runs: int) -> str:
    """`3,510 4:33`: mean steps and time; how many runs, where not all came there."""
    if not crossings:
        return "-"
    steps, seconds = fmean(one.step for one in crossings), fmean(one.seconds for one in crossings)
    return f"{steps:,.0f} {clock(seconds)}" + (f" {len(crossings)}/{runs}" if len(crossings) < runs else "")
