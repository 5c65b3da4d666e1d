"""Summaries of the study's finished runs: small JSON files, from which the page is made without
the runs or the data."""

import base64
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import cnnlab
from cnnlab.config import compose
from cnnlab.core.files import read_text, write_text
from cnnlab.core.run_index import read_run_state
from cnnlab.core.yaml_files import parse_yaml
from cnnlab.data.batches import TrainingBatches
from cnnlab.data.build import build_pipelines, load_train_and_validation
from cnnlab.engine.evaluate import predict_logits
from cnnlab.engine.learning_curves import (
    CurvePoint,
    MetricCurve,
    ThresholdCrossing,
    average_windows,
    find_crossing,
)
from cnnlab.tasks.compare.runs import RunCurves, read_run_curves

from .configurations import CONFIGURATIONS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "cifar10_runs"
BATCH_SIZE = 128
MAX_TRAIN_POINTS = 200  # of a curve over training batches
METRICS = ("train_loss", "train_accuracy", "validation_accuracy")
CROSSED_METRICS = ("validation_accuracy", "train_accuracy")


@dataclass(frozen=True)
class StudyRun:
    """A finished run of the study."""

    name: str
    seed: int
    epochs: int
    steps: int  # minibatches
    run: str  # its folder's name
    command: str
    commit: str
    machine: str
    torch: str
    precision: str
    seconds: float  # of training, other work beside it included
    test_accuracy: float
    test_images: int
    test_hits: str  # a bit for each test image, whether it is classified correctly, as base64
    test_labels: str  # beginning of the SHA-256 of the test labels
    training_batches: dict[str, float]  # mean, std and best accuracy of the final network
    crossings: dict[str, dict[str, ThresholdCrossing | None]]  # metric -> threshold
    curves: dict[str, MetricCurve]

    @property
    def file_name(self) -> str:
        return f"{self.name}_{self.epochs}_epochs_seed_{self.seed}.json"

    @property
    def hits(self) -> Tensor:
        """(N,) booleans, which test images it classifies correctly."""
        bits = np.frombuffer(base64.b64decode(self.test_hits), np.uint8)
        return torch.from_numpy(np.unpackbits(bits, count=self.test_images).astype(bool))


def pack_hits(hits: Tensor) -> str:
    """(N,) booleans -> base64 of their bits."""
    return base64.b64encode(np.packbits(hits.numpy()).tobytes()).decode()


def find_runs(out: Path) -> dict[tuple[str, int, int], Path]:
    """Return {(name, seed, epochs): folder of its newest run}."""
    folders = {}
    for path in sorted(out.glob("train/*/config.yaml")):
        config: dict[str, Any] = parse_yaml(path.read_text())
        folders[config["name"], config["seed"], config["epochs"]] = path.parent
    return folders


def summarize_runs(out: Path) -> None:
    """Write a summary of each finished run below `out` that has none yet."""
    known = {run.run for run in read_summaries()}
    for (name, _, _), folder in sorted(find_runs(out).items()):
        is_new = name in CONFIGURATIONS and folder.name not in known
        if is_new and read_run_state(folder) == "finished":
            run = summarize_run(folder)
            write_summary(run)
            print(f"summarized {run.file_name}", flush=True)


def summarize_run(folder: Path) -> StudyRun:
    """Return the summary of a finished run."""
    run = read_run_curves(folder)
    record = json.loads((folder / "environment.json").read_text())
    result = json.loads((folder / "result.json").read_text())
    assert run.test_hits is not None, f"{folder} has no test.safetensors"
    hits, labels = run.test_hits
    return StudyRun(
        **{key: run.config[key] for key in ("name", "seed", "epochs", "precision")},
        steps=result["step"],
        run=folder.name,
        command=format_command(record["command"]),
        commit=record["commit"],
        machine=record["gpu"]
        or f"{record['processor']}, {record['threads']} of {record['cores']} cores",
        torch=record["packages"]["torch"],
        seconds=round(result["seconds"], 1),
        test_accuracy=result["test"]["accuracy"],
        test_images=len(hits),
        test_hits=pack_hits(hits),
        test_labels=hashlib.sha256(labels.numpy().tobytes()).hexdigest()[:16],
        training_batches=measure_training_batches(folder),
        crossings=find_crossings(run),
        curves={m: thin_curve(m, run.curves[m]) for m in METRICS if m in run.curves},
    )


def format_command(words: list[str]) -> str:
    """Return a run's command without its seed, name and folder."""
    return " ".join(w for w in words if not w.startswith(("outputs=", "seed=", "name=")))


def measure_training_batches(folder: Path) -> dict[str, float]:
    """Return mean, standard deviation and best of the network's accuracies on an epoch's training
    batches. The images are cropped and distorted as in training."""
    trained = cnnlab.load(str(folder))
    images, _ = load_train_and_validation(trained.config["dataset"])
    pipeline, seed = build_pipelines(trained.config["augment"]).train, trained.config["seed"]
    batches = TrainingBatches(images, pipeline, batch_size=BATCH_SIZE, seed=seed)
    accuracies = []
    for batch in batches.iterate_epoch(10_000):
        logits, labels = predict_logits(trained.model, [batch])
        accuracies.append(float((logits.argmax(1) == labels).double().mean()))
    values = torch.tensor(accuracies)
    result = {"mean": values.mean(), "std": values.std(), "best": values.max()}
    return {key: round(float(value), 5) for key, value in result.items()}


def find_crossings(run: RunCurves) -> dict[str, dict[str, ThresholdCrossing | None]]:
    """Return where a run reaches each threshold, as `cnnlab compare` counts."""
    defaults = compose("compare", [])
    return {
        metric: {
            f"{threshold:g}": find_crossing(run.curves[metric], threshold, defaults["consecutive"])
            for threshold in defaults["thresholds"]
        }
        for metric in CROSSED_METRICS
        if metric in run.curves
    }


def thin_curve(metric: str, curve: MetricCurve) -> MetricCurve:
    """Return a curve of at most 200 means over training batches, or of all validations, rounded."""
    points = list(map(CurvePoint, curve.steps, curve.seconds, curve.values))
    if metric.startswith("train"):
        points = average_windows(points, math.ceil(curve.steps[-1] / MAX_TRAIN_POINTS))
    return MetricCurve.from_points(
        [CurvePoint(p.step, round(p.seconds, 1), round(p.value, 4)) for p in points]
    )


def write_summary(run: StudyRun) -> None:
    """Write a run's summary: JSON with a line for each of its fields."""
    lines = [f'"{key}": {json.dumps(value)}' for key, value in asdict(run).items()]
    FOLDER.mkdir(exist_ok=True)
    write_text(FOLDER / run.file_name, "{\n" + ",\n".join(lines) + "\n}\n")


def read_summaries() -> list[StudyRun]:
    """Return all summaries, in the order of the study's configurations, lengths and seeds."""
    order = list(CONFIGURATIONS)
    runs = [parse_summary(json.loads(read_text(path))) for path in FOLDER.glob("*.json")]
    return sorted(runs, key=lambda run: (order.index(run.name), run.epochs, run.seed))


def parse_summary(values: dict[str, Any]) -> StudyRun:
    """Return the run that a summary's JSON describes."""
    crossings = {
        metric: {key: ThresholdCrossing(**c) if c else None for key, c in row.items()}
        for metric, row in values["crossings"].items()
    }
    curves = {
        metric: MetricCurve(*(tuple(curve[key]) for key in ("steps", "seconds", "values")))
        for metric, curve in values["curves"].items()
    }
    return StudyRun(**values | {"crossings": crossings, "curves": curves})


Groups = dict[tuple[str, int], list[StudyRun]]  # (name, epochs) -> its seeds


def group_by_seed(runs: Iterable[StudyRun]) -> Groups:
    """Return the runs of each configuration and length, in their order."""
    groups: Groups = {}
    for run in runs:
        groups.setdefault((run.name, run.epochs), []).append(run)
    return groups
