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
from cnnlab.core.files import exists, read_json
from cnnlab.core.predictions import read_answers
from cnnlab.core.quoting import plain
from cnnlab.core.run import read_lines
from cnnlab.core.run_index import find_run, is_run, run_state
from cnnlab.core.schema import Config, flat
from cnnlab.core.sweep_index import runs_in
from cnnlab.engine.learning_curves import Band, Crossing, Curve, Point, band, crossed, windows
from cnnlab.tasks.trained_run import completed

METRICS = {
    "train_loss": ("train/loss", "training loss"),
    "train_accuracy": ("train/accuracy", "training batches"),
    "validation_loss": ("validation/loss", "validation loss"),
    "validation_accuracy": ("validation/accuracy", "validation"),
}
# Settings that say where and when a run was made, not what it is.
ASIDE = ("augment.preview", "dataset.root", "device", "eval_batch_size", "log_every", "name", "outputs", "resume",
         "save_every_minutes", "seed", "threads")  # fmt: skip
LONG = 30  # letters of a label beyond which arms are numbered


@dataclass(frozen=True)
class One:
    """A run as far as it has come."""

    folder: Path
    config: Config
    curves: dict[str, Curve]

    @property
    def settings(self) -> dict[str, Any]:
        """What makes the run what it is, `key` -> value; nulls are left out."""
        # Elsewhere the root says where the same pictures are; of a user's own it says which.
        aside = set(ASIDE) - ({"dataset.root"} if self.dataset == "folder" else set())
        found = flat(completed(self.config))
        return {key: value for key, value in found.items() if key not in aside and value is not None}

    @property
    def dataset(self) -> str:
        return str(self.config["dataset"]["name"])

    @cached_property
    def finished(self) -> bool:
        return run_state(self.folder) == "finished"

    def final(self, split: str) -> float | None:
        """Its accuracy on test or validation pictures once it is finished."""
        with suppress(KeyError, TypeError, ValueError):
            if self.finished:
                return float(read_json(self.folder / "result.json")[split]["accuracy"])
        return None

    @cached_property
    def answers(self) -> tuple[Tensor, Tensor] | None:
        """(N,) which of the test set's pictures it is right about, by the logits that were saved when it was finished,
        and their (N,) labels."""
        path = self.folder / "test.safetensors"
        if not self.finished or not path.is_file():
            return None
        logits, labels = read_answers(path)
        return logits.argmax(1) == labels, labels


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but the seed."""

    label: str
    runs: list[One]

    @cached_property
    def bands(self) -> dict[str, Band]:
        shared = set.intersection(*(set(one.curves) for one in self.runs))
        return {metric: band([one.curves[metric] for one in self.runs]) for metric in METRICS if metric in shared}

    def accuracies(self, split: str) -> list[float]:
        """Of its finished runs."""
        return [score for one in self.runs if (score := one.final(split)) is not None]

    def crossings(self, metric: str, threshold: float, consecutive: int) -> list[Crossing]:
        """Of those of its runs that reached the threshold."""
        found = [crossed(one.curves[metric], threshold, consecutive) for one in self.runs if metric in one.curves]
        return [crossing for crossing in found if crossing]

    @cached_property
    def answers(self) -> tuple[Tensor, Tensor] | None:
        """(S, N) hits and (N,) labels, where all S runs have answered the same pictures."""
        every = [one.answers for one in self.runs if one.answers is not None]
        if len(every) < len(self.runs) or not all(torch.equal(labels, every[0][1]) for _, labels in every):
            return None
        return torch.stack([hits for hits, _ in every]), every[0][1]


def named(names: list[str], outputs: Path) -> list[Path]:
    """The run folders that names, sweeps and patterns mean, each once, in order. Raises UsageError."""
    if not any(name.strip() for name in names):
        raise UsageError("compare takes runs: folders, sweeps or patterns; `cnnlab runs` lists what there is")
    found: dict[Path, Path] = {}
    for name in names:
        for path in matching(name, outputs):
            for run in runs_in(path) or [path]:
                found.setdefault(run.resolve(), run)
    return list(found.values())


def matching(name: str, outputs: Path) -> list[Path]:
    """The runs and sweeps that a name or a pattern means. Raises UsageError where there is none."""
    places = [Path(name).expanduser(), outputs / "train" / name]
    if any(sign in name for sign in "*?[") and not any(map(exists, places)):
        every = [Path(found) for place in places for found in sorted(glob.glob(str(place)))]  # noqa: PTH207
        every = [path for path in every if is_run(path) or runs_in(path)]
        if not every:
            raise UsageError(f"no run matches {plain(name)}; `cnnlab runs` lists what there is")
        return every
    sweep = next((place for place in places if exists(place) and not is_run(place) and runs_in(place)), None)
    return [sweep or find_run(name, outputs)]


def read(folder: Path) -> One:
    """A run's settings and curves. Raises CnnlabError where it has no settings that can be read."""
    try:
        config: Any = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        config["dataset"]["name"], config["model"]["name"]
    except (KeyError, OSError, TypeError, ValueError, yaml.YAMLError):
        raise CnnlabError(f"{plain(str(folder))}/config.yaml cannot be read: nothing says what that run is") from None
    every = config.get("log_every")
    return One(folder, config, curves(read_lines(folder / "metrics.jsonl"), every if isinstance(every, int) else 1))


def curves(rows: Sequence[dict[str, Any]], log_every: int) -> dict[str, Curve]:
    """Rows of metrics.jsonl -> the metrics' courses; of a step that was logged twice the later row counts, and what is
    no finite number is left out. A row of training is the mean of the steps since the one before; those of fewer than
    `log_every`, about an epoch's end, are joined to the next."""
    found = {}
    for metric, (key, _) in METRICS.items():
        points = {row["step"]: Point(row["step"], row["elapsed_s"], row[key]) for row in rows if whole(row, key)}
        inorder = [points[step] for step in sorted(points)]
        if inorder:
            found[metric] = Curve.of(windows(inorder, log_every) if key.startswith("train/") else inorder)
    return found


def whole(row: dict[str, Any], key: str) -> bool:
    """Whether a row has a metric and its time, in finite numbers."""
    return all(isinstance(row.get(k), (int, float)) and math.isfinite(row[k]) for k in (key, "elapsed_s"))


def grouped(runs: list[One]) -> list[Arm]:
    """Runs whose settings are the same but for the seed, as one. An arm is called by its runs' name, and by the
    settings that set it apart from others of that name; numbered where that is long."""
    members: dict[str, list[One]] = {}
    for one in runs:
        members.setdefault(json.dumps(one.settings, sort_keys=True, default=str), []).append(one)
    lists = list(members.values())
    labels = []
    for these in lists:
        name = str(these[0].config.get("name", these[0].folder.name))
        others = [each[0].settings for each in lists if each[0].config.get("name") == these[0].config.get("name")]
        own = [f"{key.partition('.')[2] or key}={said(these[0].settings.get(key))}" for key in apart(others)]
        labels.append(plain(" ".join([name, *own])))
    if max(map(len, labels), default=0) > LONG:
        labels = [f"{number} {label}" for number, label in enumerate(labels, 1)]
    return [Arm(label, these) for label, these in zip(labels, lists, strict=True)]


def said(value: Any) -> str:
    """A setting's value as a user writes it, without spaces."""
    return json.dumps(value, default=str, separators=(",", ":")).replace('"', "")


def apart(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys in which settings differ, in order."""
    every = dict.fromkeys(key for one in settings for key in one)
    return [key for key in every if any(one.get(key) != settings[0].get(key) for one in settings)]


def differences(arms: list[Arm]) -> dict[str, list[Any]]:
    """{key: its value in each arm} where those differ; null where an arm has no such key."""
    settings = [arm.runs[0].settings for arm in arms]
    return {key: [one.get(key) for one in settings] for key in apart(settings)}
