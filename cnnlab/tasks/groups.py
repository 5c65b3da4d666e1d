"""Runs read from their folders, and put together where they differ in nothing but the seed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import exists, read_json
from cnnlab.core.run import read_lines
from cnnlab.core.runs import find_run, is_run
from cnnlab.core.sweep import runs_in
from cnnlab.core.text import plain
from cnnlab.engine.curves import Band, Crossing, Curve, band, crossed
from cnnlab.tasks import parts

METRICS = {
    "train_loss": ("train/loss", "training loss"),
    "train_accuracy": ("train/accuracy", "training batches"),
    "validation_loss": ("validation/loss", "validation loss"),
    "validation_accuracy": ("validation/accuracy", "validation"),
}
# Settings that say where and when a run was made, not what it is.
ASIDE = ("augment.preview", "dataset.root", "device", "eval_batch_size", "log_every", "name", "outputs", "resume",
         "save_every_minutes", "seed", "threads")  # fmt: skip


@dataclass(frozen=True)
class One:
    """A run as far as it has come."""

    folder: Path
    config: parts.Config
    curves: dict[str, Curve]

    @property
    def settings(self) -> dict[str, Any]:
        """What makes the run what it is, `key` -> value."""
        return {key: value for key, value in parts.flat(self.config).items() if key not in ASIDE}

    def final(self, split: str) -> float | None:
        """Its accuracy at the end, on test or validation pictures."""
        found = read_json(self.folder / "result.json")
        return float(found[split]["accuracy"]) if isinstance(found, dict) else None

    @cached_property
    def hits(self) -> Tensor | None:
        """(N,) which of the test set's pictures it is right about, by the logits that were saved."""
        path = self.folder / "test.safetensors"
        if not path.is_file():
            return None
        logits, labels = parts.read_answers(path)
        return logits.argmax(1) == labels


@dataclass(frozen=True)
class Group:
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

    @property
    def hits(self) -> Tensor | None:
        """(S, N) for its S runs, where all have saved their answers."""
        rows = [one.hits for one in self.runs if one.hits is not None]
        return torch.stack(rows) if len(rows) == len(self.runs) and len({len(row) for row in rows}) == 1 else None


def named(names: list[str], outputs: Path) -> list[Path]:
    """The run folders that names, sweeps and patterns mean, each once, in order. Raises UsageError."""
    if not names:
        raise UsageError("compare takes runs: folders, sweeps or patterns; `cnnlab runs` lists what there is")
    found: list[Path] = []
    for name in names:
        places = [Path(name), outputs / "train" / name]
        if any(sign in name for sign in "*?[") and not any(map(exists, places)):
            every = [path for top in (Path(), outputs / "train") for path in sorted(top.glob(name.lstrip("/")))]
            every = [path for path in every if is_run(path) or runs_in(path)]
            if not every:
                raise UsageError(f"no run matches {name}; `cnnlab runs` lists what there is")
        else:
            sweep = next((place for place in places if exists(place) and not is_run(place) and runs_in(place)), None)
            every = [sweep or find_run(name, outputs)]
        found += [run for path in every for run in (runs_in(path) or [path])]
    return list(dict.fromkeys(found))


def read(folder: Path) -> One:
    """A run's settings and curves. Raises CnnlabError where it has no settings that can be read."""
    try:
        config: Any = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        config = None
    if not isinstance(config, dict):
        raise CnnlabError(f"{folder}/config.yaml cannot be read: nothing says what that run is")
    return One(folder, config, curves(read_lines(folder / "metrics.jsonl")))


def curves(rows: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Rows of metrics.jsonl -> the metrics' courses; of a step that was logged twice the later row counts."""
    found = {}
    for metric, (key, _) in METRICS.items():
        at = {row["step"]: (float(row.get("elapsed_s", 0)), float(row[key])) for row in rows if key in row}
        if at:
            steps = sorted(at)
            found[metric] = Curve(tuple(steps), tuple(at[n][0] for n in steps), tuple(at[n][1] for n in steps))
    return found


def grouped(runs: list[One]) -> list[Group]:
    """Runs whose settings are the same but for the seed, as one. A group is called by its runs' name, and by the
    settings that set it apart from others of that name."""
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
    return [Group(label, these) for label, these in zip(labels, lists, strict=True)]


def said(value: Any) -> str:
    """A setting's value as a user writes it, without spaces."""
    return json.dumps(value, default=str, separators=(",", ":")).replace('"', "")


def apart(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys in which settings differ, in order."""
    every = dict.fromkeys(key for one in settings for key in one)
    return [key for key in every if any(one.get(key) != settings[0].get(key) for one in settings)]


def differences(groups: list[Group]) -> dict[str, list[Any]]:
    """{key: its value in each group} where those differ; null where a group has no such key."""
    settings = [group.runs[0].settings for group in groups]
    return {key: [one.get(key) for one in settings] for key in apart(settings)}
