"""Read runs from their folders and group those that differ only in the seed."""

import glob
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import expand_home, path_exists, read_json
from cnnlab.core.predictions import read_predictions
from cnnlab.core.quoting import printable, quote_argument
from cnnlab.core.renamed_keys import rename_keys
from cnnlab.core.run import read_metrics
from cnnlab.core.run_index import (
    find_run,
    format_list_command,
    is_run,
    read_run_state,
    require_accuracy,
)
from cnnlab.core.schema import Config
from cnnlab.core.sweep_index import list_numbered_runs
from cnnlab.core.yaml_files import read_yaml
from cnnlab.engine.learning_curves import (
    CurveBand,
    CurvePoint,
    MetricCurve,
    ThresholdCrossing,
    average_curves,
    average_windows,
    find_crossing,
)
from cnnlab.models import is_classifier
from cnnlab.tasks.train.settings import select_compared_settings

COMPARED_METRICS = {
    "train_loss": ("train/loss", "training loss"),
    "train_accuracy": ("train/accuracy", "training accuracy"),
    "validation_loss": ("validation/loss", "validation loss"),
    "validation_accuracy": ("validation/accuracy", "validation accuracy"),
}
MAX_UNNUMBERED_LABEL = 30  # characters; groups with longer labels are numbered


@dataclass(frozen=True)
class RunCurves:
    """A run's settings and learning curves, finished or not."""

    folder: Path
    config: Config
    curves: dict[str, MetricCurve]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that distinguish experiments, {key: value}, without nulls."""
        return select_compared_settings(rename_keys("train", self.config))

    @cached_property
    def is_finished(self) -> bool:
        return read_run_state(self.folder) == "finished"

    def final_accuracy(self, split: str) -> float | None:
        """Return the accuracy on test or validation images of a finished run, else None."""
        with suppress(KeyError, TypeError):
            if self.is_finished:
                return require_accuracy(read_json(self.folder / "result.json")[split])
        return None

    @cached_property
    def test_hits(self) -> tuple[Tensor, Tensor] | None:
        """(N,) booleans, which test images it classifies correctly by its saved logits, and their
        (N,) labels; None if it is not finished or the logits are missing."""
        path = self.folder / "test.safetensors"
        if not self.is_finished or not path.is_file():
            return None
        logits, labels = read_predictions(path)
        return logits.argmax(1) == labels, labels


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only in the seed."""

    label: str
    runs: list[RunCurves]

    @cached_property
    def mean_curves(self) -> dict[str, CurveBand]:
        """The mean curves of the metrics that all runs have."""
        return {
            metric: average_curves([run.curves[metric] for run in self.runs])
            for metric in COMPARED_METRICS
            if all(metric in run.curves for run in self.runs)
        }

    def final_accuracies(self, split: str) -> list[float]:
        """Return the accuracies of the finished runs."""
        accuracies = [run.final_accuracy(split) for run in self.runs]
        return [accuracy for accuracy in accuracies if accuracy is not None]

    def find_crossings(
        self, metric: str, threshold: float, consecutive: int
    ) -> list[ThresholdCrossing]:
        """Return where the runs reached a threshold, of those that did."""
        crossings = [
            find_crossing(run.curves[metric], threshold, consecutive)
            for run in self.runs
            if metric in run.curves
        ]
        return [crossing for crossing in crossings if crossing]

    @cached_property
    def test_hits(self) -> tuple[Tensor, Tensor] | None:
        """(S, N) hits and (N,) labels, if all S runs were evaluated on the same images."""
        results = [run.test_hits for run in self.runs if run.test_hits is not None]
        if len(results) < len(self.runs):
            return None
        hits, labels = zip(*results, strict=True)
        if not all(torch.equal(others, labels[0]) for others in labels):
            return None
        return torch.stack(hits), labels[0]


def resolve_run_folders(names: list[str], outputs: Path) -> list[Path]:
    """Return the run folders that names of runs, sweeps and patterns mean, each once, in order.

    Raises UsageError for a name without runs.
    """
    if not any(name.strip() for name in names):
        command = format_list_command(outputs)
        raise UsageError(
            "no runs to compare: cnnlab compare RUN_OR_SWEEP_OR_PATTERN...\n"
            f"{command} lists what there is"
        )
    folders: dict[Path, Path] = {}
    for name in names:
        for path in match_runs(name, outputs):
            for run in list_numbered_runs(path) or [path]:
                folders.setdefault(run.resolve(), run)
    return list(folders.values())


def match_runs(name: str, outputs: Path) -> list[Path]:
    """Return the runs and sweeps that a name or a pattern means. Raises UsageError if none."""
    candidates = [expand_home(name), outputs / "train" / name]
    if any(sign in name for sign in "*?[") and not any(map(path_exists, candidates)):
        return match_pattern(name, candidates, outputs)
    for path in candidates:
        if path_exists(path) and not is_run(path) and list_numbered_runs(path):
            return [path]
    return [find_run(name, outputs)]


def match_pattern(name: str, patterns: list[Path], outputs: Path) -> list[Path]:
    """Return the runs and sweeps that match patterns. Raises UsageError, naming `name`, if none."""
    paths = [
        Path(match)
        for pattern in patterns
        for match in sorted(glob.glob(str(pattern)))  # noqa: PTH207
    ]
    paths = [path for path in paths if is_run(path) or list_numbered_runs(path)]
    if not paths:
        command = format_list_command(outputs)
        raise UsageError(f"no run matches {printable(name)}; {command} lists what there is")
    return paths


def read_run_curves(folder: Path) -> RunCurves:
    """Return a run's settings and curves. Raises CnnlabError if its settings cannot be read."""
    config: Any = read_yaml(folder / "config.yaml")
    try:
        config["dataset"]["name"], config["model"]["name"]
        is_classifier_run = is_classifier(config["model"])
    except (KeyError, TypeError):
        raise CnnlabError(
            f"{printable(str(folder))}/config.yaml cannot be read: the run's settings are unknown"
        ) from None
    if not is_classifier_run:
        raise UsageError(
            f"{printable(str(folder))} is a style network: compare is for classifiers\n"
            f"its losses: tensorboard --logdir {quote_argument(str(folder))}"
        )
    log_every = config.get("log_every")
    rows = read_metrics(folder / "metrics.jsonl")
    curves = build_curves(rows, log_every if isinstance(log_every, int) else 1)
    return RunCurves(folder, config, curves)


def build_curves(rows: Sequence[dict[str, Any]], log_every: int) -> dict[str, MetricCurve]:
    """Return the curves of the metrics in rows of metrics.jsonl.

    The last row of a step counts; values that are not finite are ignored. A training row is the
    mean of the steps since the previous one; rows of fewer than `log_every` steps, at the end of an
    epoch, are merged with the next.
    """
    curves = {}
    for metric, (key, _) in COMPARED_METRICS.items():
        by_step = {
            row["step"]: CurvePoint(row["step"], row["elapsed_s"], row[key])
            for row in rows
            if has_finite_values(row, key)
        }
        points = [by_step[step] for step in sorted(by_step)]
        if points:
            is_windowed = key.startswith("train/")
            curves[metric] = MetricCurve.from_points(
                average_windows(points, log_every) if is_windowed else points
            )
    return curves


def has_finite_values(row: dict[str, Any], key: str) -> bool:
    """Return whether a row has finite numbers for a metric and its time."""
    return all(
        isinstance(row.get(k), (int, float)) and math.isfinite(row[k]) for k in (key, "elapsed_s")
    )


def group_runs_by_settings(runs: list[RunCurves]) -> list[SeedGroup]:
    """Group runs whose settings differ only in the seed.

    A group's label is the name of its runs and the settings that distinguish it from other groups
    of that name; long labels are numbered.
    """
    runs_by_settings: dict[str, list[RunCurves]] = {}
    for run in runs:
        key = json.dumps(run.settings, sort_keys=True, default=str)
        runs_by_settings.setdefault(key, []).append(run)
    groups = list(runs_by_settings.values())
    labels = [label_group(group, groups) for group in groups]
    if max(map(len, labels), default=0) > MAX_UNNUMBERED_LABEL:
        labels = [f"{number} {label}" for number, label in enumerate(labels, 1)]
    return [SeedGroup(label, group) for label, group in zip(labels, groups, strict=True)]


def label_group(group: list[RunCurves], groups: list[list[RunCurves]]) -> str:
    """Return the name of a group's runs and the settings that distinguish it from other groups of
    that name."""
    first = group[0]
    name = first.config.get("name")
    same_name = [other[0].settings for other in groups if other[0].config.get("name") == name]
    words = [str(first.config.get("name", first.folder.name))]
    for key in find_differing_keys(same_name):
        words.append(f"{key.partition('.')[2] or key}={format_setting(first.settings.get(key))}")
    return printable(" ".join(words))


def format_setting(value: Any) -> str:
    """Return a setting's value as on the command line, without spaces."""
    return json.dumps(value, default=str, separators=(",", ":")).replace('"', "")


def find_differing_keys(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys in which settings differ, in order."""
    keys = dict.fromkeys(key for values in settings for key in values)
    return [
        key for key in keys if any(values.get(key) != settings[0].get(key) for values in settings)
    ]


def find_differences(groups: list[SeedGroup]) -> dict[str, list[Any]]:
    """Return {key: its value in each group} of the settings that differ; null for a missing key."""
    settings = [group.runs[0].settings for group in groups]
    return {key: [values.get(key) for values in settings] for key in find_differing_keys(settings)}
