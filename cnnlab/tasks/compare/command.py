"""`cnnlab compare`: runs, or arms of several seeds, side by side."""

import json
import sys
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch

from cnnlab.core.errors import UsageError
from cnnlab.core.files import check_folder_name, new_folder, outputs_folder
from cnnlab.core.progress import clock
from cnnlab.core.quoting import plain
from cnnlab.core.run import Run
from cnnlab.core.schema import Config, call
from cnnlab.core.sweep_index import spread
from cnnlab.engine.learning_curves import Crossing
from cnnlab.engine.metrics import paired, wilson
from cnnlab.tasks.compare.curves import follow, panel, shared_metrics, title
from cnnlab.tasks.compare.runs import METRICS, Arm, One, differences, grouped, named, read, said
from cnnlab.viz.curves import curves_figure

MARGIN, NAME = 16, 34  # letters before a table's first column, and of an arm's name where there is room


ACROSS = 4  # thresholds side by side


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
        check_folder_name(self.name)


def run(config: Config, overrides: list[str]) -> None:
    """Compare, write outputs/compare/<date>_<time>_<name>/ and print."""
    s = call(Settings, config, "")
    arms = grouped(begun([read(folder) for folder in named(s.runs, outputs_folder(s.outputs))]))
    metrics = shared_metrics(arms)
    found = {"groups": [numbers(arm, s) for arm in arms], "differ": differences(arms), "paired": pairs(arms)}
    panels = [panel(arms, metric) for metric in metrics]
    figure = curves_figure(panels, title(arms))
    folder = new_folder(outputs_folder(s.outputs) / "compare", s.name)
    board = Run(folder)
    board.figure("compare", figure, 0, found)
    board.close()
    for number, arm in enumerate(arms):
        follow(folder / "curves" / f"{number}_{''.join(c if c.isalnum() else '_' for c in arm.label)[:60]}", arm)
    if s.json:
        print(json.dumps(found | {"folder": str(folder)}))
    else:
        report(arms, found, s)
        print(f"\nnumbers and figure: {folder}")


def begun(runs: list[One]) -> list[One]:
    """Those that have logged something; the others are named. Raises UsageError where none has."""
    started = [one for one in runs if one.curves]
    without = ", ".join(plain(str(one.folder)) for one in runs if not one.curves)
    if not started:
        raise UsageError(f"nothing to compare: {without} logged nothing yet")
    if without:
        print(f"left out, nothing logged yet: {without}", file=sys.stderr)
    return started


def numbers(arm: Arm, s: Settings) -> dict[str, Any]:
    """All that is said of an arm, ready for JSON."""
    crossings = {
        metric: {
            f"{threshold:g}": [asdict(one) for one in arm.crossings(metric, threshold, s.consecutive)]
            for threshold in s.thresholds
        }
        for metric in ("validation_accuracy", "train_accuracy")
    }
    return {
        "label": arm.label,
        "runs": [str(one.folder) for one in arm.runs],
        "finished": [one.finished for one in arm.runs],
        "seeds": [one.config.get("seed") for one in arm.runs],
        "test": arm.accuracies("test"),
        "test_interval_95": [wilson(int(hits.sum()), len(hits)) for hits in arm.answers[0]] if arm.answers else [],
        "validation": arm.accuracies("validation"),
        "reached": crossings,
        "curves": {metric: asdict(one) for metric, one in arm.bands.items()},
    }


def pairs(arms: list[Arm]) -> list[dict[str, Any]]:
    """Every other arm against the first, on the same test pictures; why not, where that cannot be."""
    rows: list[dict[str, Any]] = []
    first = arms[0]
    for other in arms[1:]:
        row: dict[str, Any] = {"first": first.label, "second": other.label}
        lacking = [one.folder for one in (*first.runs, *other.runs) if one.answers is None]
        if lacking:
            row["missing"] = f"{plain(str(lacking[0]))} is not finished, or has no test.safetensors (resume= scores it)"
        elif first.answers is None or other.answers is None or not torch.equal(first.answers[1], other.answers[1]):
            row["missing"] = "they were scored on different test pictures"
        else:
            row |= paired(first.answers[0], other.answers[0]) | {"pictures": len(first.answers[1])}
        rows.append(row)
    return rows


def report(arms: list[Arm], found: dict[str, Any], s: Settings) -> None:
    """The tables, for a terminal of 80 columns."""
    runs = sum(len(arm.runs) for arm in arms)
    print(f"cnnlab compare: {runs} run{'s' * (runs != 1)} in {len(arms)} group{'s' * (len(arms) != 1)}")
    width = min(NAME, max(12, *(len(arm.label) for arm in arms)))
    print(f"\n{'':{width}} finished {'test':>16} {'validation':>16}")
    for arm in arms:
        scores = [spread(tuple(arm.accuracies(split))) for split in ("test", "validation")]
        done = f"{sum(one.finished for one in arm.runs)}/{len(arm.runs)}"
        print(f"{short(arm.label):{width}} {done:>8} {scores[0]:>16} {scores[1]:>16}")
    print_pairs(found["paired"])
    for metric in ("validation_accuracy", "train_accuracy"):
        for begin in range(0, len(s.thresholds), ACROSS):
            print_crossings(metric, arms, s.thresholds[begin : begin + ACROSS], s.consecutive)
    print("\nThey differ in (in the order above):" if found["differ"] else "\nTheir settings are the same.")
    for key, values in found["differ"].items():
        print(f"  {key} " + ", ".join(plain(said(value)) for value in values))


def short(label: str) -> str:
    return label if len(label) <= NAME else label[: NAME - 1] + "…"


def print_pairs(rows: list[dict[str, Any]]) -> None:
    """What the paired tests say; once each why there is none."""
    tested = [row for row in rows if "missing" not in row]
    if tested:
        print(f"\non the same {tested[0]['pictures']:,} test pictures, these networks, other seeds not counted:")
    for row in tested:
        gain, low, high = (100 * share for share in (row["difference"], *row["interval_95"]))
        p = f"p = {row['p']:.2g}" if row["p"] > 1e-300 else "p < 1e-300"
        print(f"  {short(row['second'])} against {short(row['first'])}:")
        print(f"    {gain:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}), {p}")
    for why in dict.fromkeys(row["missing"] for row in rows if "missing" in row):
        print(f"\nno paired test: {why}")


def print_crossings(metric: str, arms: list[Arm], thresholds: list[float], consecutive: int) -> None:
    """Steps and time to each threshold, a line an arm, below its name where that is long."""
    if not any(metric in arm.bands for arm in arms):
        return
    row = f", first of {consecutive} in a row" if consecutive > 1 else ""
    print(f"\naccuracy of {METRICS[metric][1]}: steps and time to{row}")
    print(" " * MARGIN + "".join(f"{threshold:>16.4g}" for threshold in thresholds))
    partly = False
    for arm in arms:
        crossings = [arm.crossings(metric, threshold, consecutive) for threshold in thresholds]
        partly = partly or any(0 < len(found) < len(arm.runs) for found in crossings)
        cells = [reached(found, len(arm.runs)) for found in crossings]
        name = arm.label if len(arm.label) < MARGIN else f"{short(arm.label)}\n{'':{MARGIN}}"
        print(f"{name:{MARGIN}}" + "".join(f"{cell:>16}" for cell in cells))
    if partly:
        print("* not all of its runs came there: the mean of those that did")


def reached(crossings: list[Crossing], runs: int) -> str:
    """`3,510 4:33`: mean steps and time; starred where not all runs came there."""
    if not crossings:
        return "-"
    steps, seconds = fmean(one.step for one in crossings), fmean(one.seconds for one in crossings)
    return f"{steps:,.0f} {clock(seconds)}" + "*" * (len(crossings) < runs)
