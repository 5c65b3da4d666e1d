"""`cnnlab compare`: compare runs, or groups of runs that differ only in the seed."""

import json
import sys
from dataclasses import asdict
from statistics import fmean
from typing import Any

import torch

from cnnlab.core.display_text import count_columns, format_cell
from cnnlab.core.errors import UsageError
from cnnlab.core.files import make_run_folder, resolve_outputs_folder
from cnnlab.core.progress import format_duration
from cnnlab.core.quoting import as_override, printable
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

LABEL_WIDTH = 16  # characters before a table's first column
MAX_LABEL_WIDTH = 34  # characters of a group's label where it has a line of its own
THRESHOLDS_PER_TABLE = 4
THRESHOLD_METRICS = ("validation_accuracy", "train_accuracy")


def run(config: Config, overrides: list[str]) -> None:
    """Compare runs, write outputs/compare/<date>_<time>_<name>/ and print."""
    settings = call_checked(CompareSettings, config, "")
    outputs = resolve_outputs_folder(settings.outputs)
    runs = [read_run_curves(folder) for folder in resolve_run_folders(settings.runs, outputs)]
    groups = group_runs_by_settings(select_started(runs))
    metrics = find_shared_metrics(groups)
    result = {
        "groups": [summarize_group(group, settings) for group in groups],
        "differences": find_differences(groups),
        "paired_tests": compare_pairs(groups),
    }
    panels = [build_curve_panel(groups, metric) for metric in metrics]
    figure = plot_learning_curves(panels, format_curves_title(groups))
    folder = make_run_folder(outputs / "compare", settings.name)
    comparison = Run(folder)
    comparison.save_figure("compare", figure, 0, result)
    comparison.close()
    for number, group in enumerate(groups):
        name = "".join(c if c.isalnum() else "_" for c in group.label)[:60]
        log_group_curves(folder / "curves" / f"{number}_{name}", group)
    if settings.json:
        print(json.dumps(result | {"folder": str(folder)}))
    else:
        print_comparison(groups, result, settings)
        print(f"\nnumbers and figure:\n{folder}")


def select_started(runs: list[RunCurves]) -> list[RunCurves]:
    """Return the runs that have logged something; print the others to stderr.

    Raises UsageError if none has.
    """
    started = [run for run in runs if run.curves]
    skipped = ", ".join(printable(str(run.folder)) for run in runs if not run.curves)
    if not started:
        raise UsageError(f"nothing to compare: {skipped} logged nothing yet")
    if skipped:
        print(f"skipped, nothing logged yet: {skipped}", file=sys.stderr)
    return started


def summarize_group(group: SeedGroup, settings: CompareSettings) -> dict[str, Any]:
    """Return the results of a group, ready for JSON."""
    hits = list(group.test_hits[0]) if group.test_hits else []
    return {
        "label": group.label,
        "runs": [str(run.folder) for run in group.runs],
        "finished": [run.is_finished for run in group.runs],
        "seeds": [run.config.get("seed") for run in group.runs],
        "test": group.final_accuracies("test"),
        "test_interval_95": [wilson_interval(int(row.sum()), len(row)) for row in hits],
        "validation": group.final_accuracies("validation"),
        "crossings": {
            metric: summarize_crossings(group, metric, settings) for metric in THRESHOLD_METRICS
        },
        "curves": {metric: asdict(curve) for metric, curve in group.mean_curves.items()},
    }


def summarize_crossings(
    group: SeedGroup, metric: str, settings: CompareSettings
) -> dict[str, list[dict[str, Any]]]:
    """Return {threshold: step and seconds of each run that reached it}."""
    return {
        f"{threshold:g}": [
            asdict(crossing)
            for crossing in group.find_crossings(metric, threshold, settings.consecutive)
        ]
        for threshold in settings.thresholds
    }


def compare_pairs(groups: list[SeedGroup]) -> list[dict[str, Any]]:
    """Return a paired test of each group against the first, or the reason why there is none."""
    first, *others = groups
    return [
        {"first": first.label, "second": other.label} | compare_pair(first, other)
        for other in others
    ]


def compare_pair(first: SeedGroup, second: SeedGroup) -> dict[str, Any]:
    """Return the paired test of two groups, or {"skipped_reason": text}."""
    for run in (*first.runs, *second.runs):
        if run.test_hits is None:
            command = f"cnnlab train {as_override('resume', str(run.folder))}"
            return {
                "skipped_reason": f"{printable(str(run.folder))} is not finished, or has no "
                f"test.safetensors; this writes it:\n  {command}"
            }
    if (
        first.test_hits is None
        or second.test_hits is None
        or not torch.equal(first.test_hits[1], second.test_hits[1])
    ):
        return {"skipped_reason": "they were evaluated on different test images"}
    test = compare_paired_accuracy(first.test_hits[0], second.test_hits[0])
    return test | {"images": len(first.test_hits[1])}


def print_comparison(
    groups: list[SeedGroup], result: dict[str, Any], settings: CompareSettings
) -> None:
    """Print the tables, 80 columns wide."""
    num_runs = sum(len(group.runs) for group in groups)
    print(
        f"cnnlab compare: {num_runs} run{'s' * (num_runs != 1)} "
        f"in {len(groups)} group{'s' * (len(groups) != 1)}"
    )
    print_accuracies(groups)
    print_paired_tests(result["paired_tests"])
    for metric in THRESHOLD_METRICS:
        for start in range(0, len(settings.thresholds), THRESHOLDS_PER_TABLE):
            thresholds = settings.thresholds[start : start + THRESHOLDS_PER_TABLE]
            print_crossings(metric, groups, thresholds, settings.consecutive)
    if not result["differences"]:
        print("\nThe settings are the same.")
        return
    print("\nDifferent settings (in the order above):")
    for key, values in result["differences"].items():
        print(f"  {key} " + ", ".join(printable(format_setting(value)) for value in values))


def print_accuracies(groups: list[SeedGroup]) -> None:
    """Print the finished runs of each group and their mean accuracies."""
    width = min(MAX_LABEL_WIDTH, max(12, *(count_columns(group.label) for group in groups)))
    print(f"\n{'':{width}} finished {'test':>16} {'validation':>16}")
    for group in groups:
        test, validation = (
            format_mean_std(tuple(group.final_accuracies(split)))
            for split in ("test", "validation")
        )
        finished = f"{sum(run.is_finished for run in group.runs)}/{len(group.runs)}"
        label = format_cell(group.label, width)
        print(f"{label} {finished:>8} {test:>16} {validation:>16}")


def shorten_label(label: str) -> str:
    return format_cell(label, MAX_LABEL_WIDTH).rstrip()


def print_paired_tests(rows: list[dict[str, Any]]) -> None:
    """Print the paired tests, and each reason for a missing one once."""
    tests = [row for row in rows if "skipped_reason" not in row]
    if tests:
        print(
            f"\npaired test on the same {tests[0]['images']:,} test images "
            f"(variation between seeds not included):"
        )
    for row in tests:
        gain, low, high = (100 * share for share in (row["difference"], *row["interval_95"]))
        p = f"p = {row['p_value']:.2g}" if row["p_value"] > 1e-300 else "p < 1e-300"
        print(f"  {shorten_label(row['second'])} against {shorten_label(row['first'])}:")
        print(f"    {gain:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}), {p}")
    reasons = [row["skipped_reason"] for row in rows if "skipped_reason" in row]
    for reason in dict.fromkeys(reasons):
        print(f"\nno paired test: {reason}")


def print_crossings(
    metric: str, groups: list[SeedGroup], thresholds: list[float], consecutive: int
) -> None:
    """Print the steps and time of each group to each threshold; long labels on their own line."""
    if not any(metric in group.mean_curves for group in groups):
        return
    title = f"{COMPARED_METRICS[metric][1]}: steps (time) to threshold"
    if consecutive > 1:
        values = "validations" if metric == "validation_accuracy" else "values"
        title += f", {consecutive} consecutive {values}"
    print(f"\n{title}")
    print(" " * LABEL_WIDTH + "".join(f"{threshold:>16.4g}" for threshold in thresholds))
    is_partial = False
    for group in groups:
        rows = [group.find_crossings(metric, threshold, consecutive) for threshold in thresholds]
        is_partial = is_partial or any(0 < len(row) < len(group.runs) for row in rows)
        cells = [format_mean_crossing(row, len(group.runs)) for row in rows]
        label = format_cell(group.label, LABEL_WIDTH)
        if count_columns(group.label) >= LABEL_WIDTH:
            label = f"{shorten_label(group.label)}\n{'':{LABEL_WIDTH}}"
        print(label + "".join(f"{cell:>16}" for cell in cells))
    if is_partial:
        print("* mean of the runs that reached the threshold; not all did")


def format_mean_crossing(crossings: list[ThresholdCrossing], num_runs: int) -> str:
    """Return the mean steps and time, `3,510 4:33`; with an asterisk if not all runs crossed."""
    if not crossings:
        return "-"
    steps = fmean(crossing.step for crossing in crossings)
    seconds = fmean(crossing.seconds for crossing in crossings)
    return f"{steps:,.0f} {format_duration(seconds)}" + "*" * (len(crossings) < num_runs)
