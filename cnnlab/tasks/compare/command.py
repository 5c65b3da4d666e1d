"""`cnnlab compare`: runs, or arms of several seeds, side by side."""

import json
import sys
from dataclasses import asdict
from statistics import fmean
from typing import Any

import torch

from cnnlab.core.errors import UsageError
from cnnlab.core.files import make_run_folder, resolve_outputs_folder
from cnnlab.core.progress import format_duration
from cnnlab.core.quoting import printable
from cnnlab.core.run import Run
from cnnlab.core.schema import Config, call_checked
from cnnlab.core.sweep_index import format_mean_std
from cnnlab.engine.learning_curves import ThresholdCrossing
from cnnlab.engine.metrics import compare_paired_accuracy, wilson_interval
from cnnlab.tasks.compare.curves import (
    build_curve_panel,
    find_shared_metrics,
    format_curves_title,
    log_group_curves,
)
from cnnlab.tasks.compare.runs import (
    COMPARED_METRICS,
    RunCurves,
    SeedGroup,
    find_differences,
    format_setting,
    group_runs_by_settings,
    read_run_curves,
    resolve_run_folders,
)
from cnnlab.tasks.compare.settings import CompareSettings
from cnnlab.viz.curves import plot_learning_curves

LABEL_WIDTH, MAX_LABEL_WIDTH = (
    16,
    34,
)  # letters before a table's first column, and of an arm's name where there is room


THRESHOLDS_PER_TABLE = 4  # thresholds side by side


def run(config: Config, overrides: list[str]) -> None:
    """Compare, write outputs/compare/<date>_<time>_<name>/ and print."""
    s = call_checked(CompareSettings, config, "")
    arms = group_runs_by_settings(
        select_started(
            [
                read_run_curves(folder)
                for folder in resolve_run_folders(s.runs, resolve_outputs_folder(s.outputs))
            ]
        )
    )
    metrics = find_shared_metrics(arms)
    found = {
        "groups": [summarize_group(arm, s) for arm in arms],
        "differences": find_differences(arms),
        "paired_tests": compare_pairs(arms),
    }
    panels = [build_curve_panel(arms, metric) for metric in metrics]
    figure = plot_learning_curves(panels, format_curves_title(arms))
    folder = make_run_folder(resolve_outputs_folder(s.outputs) / "compare", s.name)
    board = Run(folder)
    board.save_figure("compare", figure, 0, found)
    board.close()
    for number, arm in enumerate(arms):
        log_group_curves(
            folder
            / "curves"
            / f"{number}_{''.join(c if c.isalnum() else '_' for c in arm.label)[:60]}",
            arm,
        )
    if s.json:
        print(json.dumps(found | {"folder": str(folder)}))
    else:
        print_comparison(arms, found, s)
        print(f"\nnumbers and figure: {folder}")


def select_started(runs: list[RunCurves]) -> list[RunCurves]:
    """Those that have logged something; the others are named. Raises UsageError where none has."""
    started = [one for one in runs if one.curves]
    without = ", ".join(printable(str(one.folder)) for one in runs if not one.curves)
    if not started:
        raise UsageError(f"nothing to compare: {without} logged nothing yet")
    if without:
        print(f"left out, nothing logged yet: {without}", file=sys.stderr)
    return started


def summarize_group(arm: SeedGroup, s: CompareSettings) -> dict[str, Any]:
    """All that is said of an arm, ready for JSON."""
    crossings = {
        metric: {
            f"{threshold:g}": [
                asdict(one) for one in arm.find_crossings(metric, threshold, s.consecutive)
            ]
            for threshold in s.thresholds
        }
        for metric in ("validation_accuracy", "train_accuracy")
    }
    return {
        "label": arm.label,
        "runs": [str(one.folder) for one in arm.runs],
        "finished": [one.is_finished for one in arm.runs],
        "seeds": [one.config.get("seed") for one in arm.runs],
        "test": arm.final_accuracies("test"),
        "test_interval_95": [
            wilson_interval(int(hits.sum()), len(hits)) for hits in arm.test_hits[0]
        ]
        if arm.test_hits
        else [],
        "validation": arm.final_accuracies("validation"),
        "crossings": crossings,
        "curves": {metric: asdict(one) for metric, one in arm.mean_curves.items()},
    }


def compare_pairs(arms: list[SeedGroup]) -> list[dict[str, Any]]:
    """Every other arm against the first, on the same test images; why not, where that cannot be."""
    rows: list[dict[str, Any]] = []
    first = arms[0]
    for other in arms[1:]:
        row: dict[str, Any] = {"first": first.label, "second": other.label}
        lacking = [one.folder for one in (*first.runs, *other.runs) if one.test_hits is None]
        if lacking:
            row["skipped_reason"] = (
                f"{printable(str(lacking[0]))} is not finished, or has no test.safetensors (resume= scores it)"
            )
        elif (
            first.test_hits is None
            or other.test_hits is None
            or not torch.equal(first.test_hits[1], other.test_hits[1])
        ):
            row["skipped_reason"] = "they were scored on different test images"
        else:
            row |= compare_paired_accuracy(first.test_hits[0], other.test_hits[0]) | {
                "images": len(first.test_hits[1])
            }
        rows.append(row)
    return rows


def print_comparison(arms: list[SeedGroup], found: dict[str, Any], s: CompareSettings) -> None:
    """The tables, for a terminal of 80 columns."""
    runs = sum(len(arm.runs) for arm in arms)
    print(
        f"cnnlab compare: {runs} run{'s' * (runs != 1)} in {len(arms)} group{'s' * (len(arms) != 1)}"
    )
    width = min(MAX_LABEL_WIDTH, max(12, *(len(arm.label) for arm in arms)))
    print(f"\n{'':{width}} finished {'test':>16} {'validation':>16}")
    for arm in arms:
        scores = [
            format_mean_std(tuple(arm.final_accuracies(split))) for split in ("test", "validation")
        ]
        done = f"{sum(one.is_finished for one in arm.runs)}/{len(arm.runs)}"
        print(f"{shorten_label(arm.label):{width}} {done:>8} {scores[0]:>16} {scores[1]:>16}")
    print_paired_tests(found["paired_tests"])
    for metric in ("validation_accuracy", "train_accuracy"):
        for begin in range(0, len(s.thresholds), THRESHOLDS_PER_TABLE):
            print_crossings(
                metric, arms, s.thresholds[begin : begin + THRESHOLDS_PER_TABLE], s.consecutive
            )
    print(
        "\nThey differ in (in the order above):"
        if found["differences"]
        else "\nTheir settings are the same."
    )
    for key, values in found["differences"].items():
        print(f"  {key} " + ", ".join(printable(format_setting(value)) for value in values))


def shorten_label(label: str) -> str:
    return label if len(label) <= MAX_LABEL_WIDTH else label[: MAX_LABEL_WIDTH - 1] + "…"


def print_paired_tests(rows: list[dict[str, Any]]) -> None:
    """What the paired tests say; once each why there is none."""
    tested = [row for row in rows if "skipped_reason" not in row]
    if tested:
        print(
            f"\non the same {tested[0]['images']:,} test images, these networks, other seeds not counted:"
        )
    for row in tested:
        gain, low, high = (100 * share for share in (row["difference"], *row["interval_95"]))
        p = f"p = {row['p_value']:.2g}" if row["p_value"] > 1e-300 else "p < 1e-300"
        print(f"  {shorten_label(row['second'])} against {shorten_label(row['first'])}:")
        print(f"    {gain:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}), {p}")
    for why in dict.fromkeys(row["skipped_reason"] for row in rows if "skipped_reason" in row):
        print(f"\nno paired test: {why}")


def print_crossings(
    metric: str, arms: list[SeedGroup], thresholds: list[float], consecutive: int
) -> None:
    """Steps and time to each threshold, a line an arm, below its name where that is long."""
    if not any(metric in arm.mean_curves for arm in arms):
        return
    row = f", first of {consecutive} in a row" if consecutive > 1 else ""
    print(f"\naccuracy of {COMPARED_METRICS[metric][1]}: steps and time to{row}")
    print(" " * LABEL_WIDTH + "".join(f"{threshold:>16.4g}" for threshold in thresholds))
    partly = False
    for arm in arms:
        crossings = [arm.find_crossings(metric, threshold, consecutive) for threshold in thresholds]
        partly = partly or any(0 < len(found) < len(arm.runs) for found in crossings)
        cells = [format_mean_crossing(found, len(arm.runs)) for found in crossings]
        name = (
            arm.label
            if len(arm.label) < LABEL_WIDTH
            else f"{shorten_label(arm.label)}\n{'':{LABEL_WIDTH}}"
        )
        print(f"{name:{LABEL_WIDTH}}" + "".join(f"{cell:>16}" for cell in cells))
    if partly:
        print("* not all of its runs came there: the mean of those that did")


def format_mean_crossing(crossings: list[ThresholdCrossing], runs: int) -> str:
    """`3,510 4:33`: mean steps and time; starred where not all runs came there."""
    if not crossings:
        return "-"
    steps, seconds = fmean(one.step for one in crossings), fmean(one.seconds for one in crossings)
    return f"{steps:,.0f} {format_duration(seconds)}" + "*" * (len(crossings) < runs)
