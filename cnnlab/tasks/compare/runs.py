"""Runs read from their folders, and put together where they differ in nothing but the seed."""

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
import yaml
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import path_exists, read_json
from cnnlab.core.predictions import read_predictions
from cnnlab.core.quoting import printable
from cnnlab.core.renamed_keys import rename_keys
from cnnlab.core.run import read_metrics
from cnnlab.core.run_index import find_run, is_run, read_run_state
from cnnlab.core.schema import Config
from cnnlab.core.sweep_index import list_numbered_runs
from cnnlab.engine.learning_curves import (
    CurveBand,
    CurvePoint,
    MetricCurve,
    ThresholdCrossing,
    average_curves,
    average_windows,
    find_crossing,
)
from cnnlab.tasks.train.settings import select_compared_settings

COMPARED_METRICS = {
    "train_loss": ("train/loss", "training loss"),
    "train_accuracy": ("train/accuracy", "training batches"),
    "validation_loss": ("validation/loss", "validation loss"),
    "validation_accuracy": ("validation/accuracy", "validation"),
}
MAX_UNNUMBERED_LABEL = 30  # letters of a label beyond which arms are numbered


@dataclass(frozen=True)
class RunCurves:
    """A run as far as it has come."""

    folder: Path
    config: Config
    curves: dict[str, MetricCurve]

    @property
    def settings(self) -> dict[str, Any]:
        """Return what makes the run what it is, `key` -> value; nulls are left out."""
        return select_compared_settings(rename_keys("train", self.config))

    @cached_property
    def is_finished(self) -> bool:
        return read_run_state(self.folder) == "finished"

    def final_accuracy(self, split: str) -> float | None:
        """Its accuracy on test or validation images once it is finished."""
        with suppress(KeyError, TypeError, ValueError):
            if self.is_finished:
                return float(read_json(self.folder / "result.json")[split]["accuracy"])
        return None

    @cached_property
    def test_hits(self) -> tuple[Tensor, Tensor] | None:
        """(N,) which of the test set's images it is right about, by the logits that were saved when it was finished,
        and their (N,) labels."""
        path = self.folder / "test.safetensors"
        if not self.is_finished or not path.is_file():
            return None
        logits, labels = read_predictions(path)
        return logits.argmax(1) == labels, labels


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in nothing but the seed."""

    label: str
    runs: list[RunCurves]

    @cached_property
    def mean_curves(self) -> dict[str, CurveBand]:
        shared = set.intersection(*(set(one.curves) for one in self.runs))
        return {
            metric: average_curves([one.curves[metric] for one in self.runs])
            for metric in COMPARED_METRICS
            if metric in shared
        }

    def final_accuracies(self, split: str) -> list[float]:
        """Of its finished runs."""
        return [score for one in self.runs if (score := one.final_accuracy(split)) is not None]

    def find_crossings(
        self, metric: str, threshold: float, consecutive: int
    ) -> list[ThresholdCrossing]:
        """Of those of its runs that reached the threshold."""
        found = [
            find_crossing(one.curves[metric], threshold, consecutive)
            for one in self.runs
            if metric in one.curves
        ]
        return [crossing for crossing in found if crossing]

    @cached_property
    def test_hits(self) -> tuple[Tensor, Tensor] | None:
        """(S, N) hits and (N,) labels, where all S runs have answered the same images."""
        every = [one.test_hits for one in self.runs if one.test_hits is not None]
        if len(every) < len(self.runs) or not all(
            torch.equal(labels, every[0][1]) for _, labels in every
        ):
            return None
        return torch.stack([hits for hits, _ in every]), every[0][1]


def resolve_run_folders(names: list[str], outputs: Path) -> list[Path]:
    """The run folders that names, sweeps and patterns mean, each once, in order. Raises UsageError."""
    if not any(name.strip() for name in names):
        raise UsageError(
            "compare takes runs: folders, sweeps or patterns; `cnnlab runs` lists what there is"
        )
    found: dict[Path, Path] = {}
    for name in names:
        for path in match_runs(name, outputs):
            for run in list_numbered_runs(path) or [path]:
                found.setdefault(run.resolve(), run)
    return list(found.values())


def match_runs(name: str, outputs: Path) -> list[Path]:
    """The runs and sweeps that a name or a pattern means. Raises UsageError where there is none."""
    places = [Path(name).expanduser(), outputs / "train" / name]
    if any(sign in name for sign in "*?[") and not any(map(path_exists, places)):
        every = [Path(found) for place in places for found in sorted(glob.glob(str(place)))]  # noqa: PTH207
        every = [path for path in every if is_run(path) or list_numbered_runs(path)]
        if not every:
            raise UsageError(f"no run matches {printable(name)}; `cnnlab runs` lists what there is")
        return every
    sweep = next(
        (
            place
            for place in places
            if path_exists(place) and not is_run(place) and list_numbered_runs(place)
        ),
        None,
    )
    return [sweep or find_run(name, outputs)]


def read_run_curves(folder: Path) -> RunCurves:
    """A run's settings and curves. Raises CnnlabError where it has no settings that can be read."""
    try:
        config: Any = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        config["dataset"]["name"], config["model"]["name"]
    except (KeyError, OSError, TypeError, ValueError, yaml.YAMLError):
        raise CnnlabError(
            f"{printable(str(folder))}/config.yaml cannot be read: nothing says what that run is"
        ) from None
    every = config.get("log_every")
    return RunCurves(
        folder,
        config,
        build_curves(
            read_metrics(folder / "metrics.jsonl"), every if isinstance(every, int) else 1
        ),
    )


def build_curves(rows: Sequence[dict[str, Any]], log_every: int) -> dict[str, MetricCurve]:
    """Rows of metrics.jsonl -> the metrics' courses; of a step that was logged twice the later row counts, and what is
    no finite number is left out. A row of training is the mean of the steps since the one before; those of fewer than
    `log_every`, about an epoch's end, are joined to the next."""
    found = {}
    for metric, (key, _) in COMPARED_METRICS.items():
        points = {
            row["step"]: CurvePoint(row["step"], row["elapsed_s"], row[key])
            for row in rows
            if has_finite_values(row, key)
        }
        inorder = [points[step] for step in sorted(points)]
        if inorder:
            found[metric] = MetricCurve.from_points(
                average_windows(inorder, log_every) if key.startswith("train/") else inorder
            )
    return found


def has_finite_values(row: dict[str, Any], key: str) -> bool:
    """Whether a row has a metric and its time, in finite numbers."""
    return all(
        isinstance(row.get(k), (int, float)) and math.isfinite(row[k]) for k in (key, "elapsed_s")
    )


def group_runs_by_settings(runs: list[RunCurves]) -> list[SeedGroup]:
    """Runs whose settings are the same but for the seed, as one. An arm is called by its runs' name, and by the
    settings that set it apart from others of that name; numbered where that is long."""
    members: dict[str, list[RunCurves]] = {}
    for one in runs:
        members.setdefault(json.dumps(one.settings, sort_keys=True, default=str), []).append(one)
    lists = list(members.values())
    labels = []
    for these in lists:
        name = str(these[0].config.get("name", these[0].folder.name))
        others = [
            each[0].settings
            for each in lists
            if each[0].config.get("name") == these[0].config.get("name")
        ]
        own = [
            f"{key.partition('.')[2] or key}={format_setting(these[0].settings.get(key))}"
            for key in find_differing_keys(others)
        ]
        labels.append(printable(" ".join([name, *own])))
    if max(map(len, labels), default=0) > MAX_UNNUMBERED_LABEL:
        labels = [f"{number} {label}" for number, label in enumerate(labels, 1)]
    return [SeedGroup(label, these) for label, these in zip(labels, lists, strict=True)]


def format_setting(value: Any) -> str:
    """A setting's value as a user writes it, without spaces."""
    return json.dumps(value, default=str, separators=(",", ":")).replace('"', "")


def find_differing_keys(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys in which settings differ, in order."""
    every = dict.fromkeys(key for one in settings for key in one)
    return [key for key in every if any(one.get(key) != settings[0].get(key) for one in settings)]


def find_differences(arms: list[SeedGroup]) -> dict[str, list[Any]]:
    """{key: its value in each arm} where those differ; null where an arm has no such key."""
    settings = [arm.runs[0].settings for arm in arms]
    return {key: [one.get(key) for one in settings] for key in find_differing_keys(settings)}
