"""`cnnlab eval`: a run scored by its own configuration, in numbers and pictures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cnnlab.core.device import describe, environment, pick_device, threads
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import new_folder, write_json
from cnnlab.core.run import Run
from cnnlab.core.schema import call
from cnnlab.core.quoting import plain
from cnnlab.data.batches import in_order
from cnnlab.data.dataset import PictureSet, by_name, some
from cnnlab.engine.evaluate import answers
from cnnlab.engine.metrics import DRAWS, scores, single_batches
from cnnlab.tasks import trained_run
from cnnlab.viz.plots import captioned_sheet, confusion_figure, label, reliability_figure


@dataclass(frozen=True, kw_only=True)
class Settings:
    """configs/eval.yaml's keys and their types."""

    run: str
    checkpoint: str | int
    split: Literal["test", "validation", "train"]
    device: str
    batch_size: int | None
    mistakes: int
    single_batches: int | None
    json: bool
    outputs: str

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.mistakes < 0:
            raise ValueError(f"mistakes must be at least 0, not {self.mistakes}")


def run(config: trained_run.Config, overrides: list[str]) -> float:
    """Score a run, write RUN/eval/<date>_<time>_<split>/ and print; returns the accuracy."""
    s = call(Settings, config, "")
    device = pick_device(s.device)
    trained = trained_run.load_run(s.run, checkpoint=s.checkpoint, device=device, outputs=s.outputs)
    pictures = split_of(trained, s.split).to(device)
    batch_size = s.batch_size or trained.config["eval_batch_size"]
    with threads(trained.config.get("threads")):  # as it was trained: their number shows in the last bits
        logits, labels = answers(trained.model, in_order(pictures, trained.preprocess, batch_size=batch_size))
    found = scores(logits, labels, trained.classes)
    if s.single_batches is not None:
        found["single_batches"] = in_single_batches(logits, labels, s.single_batches)
    about = {
        "run": str(trained.folder),
        "step": trained.step,
        "dataset": trained.config["dataset"]["name"],
        "split": s.split,
    }
    folder = new_folder(trained.folder / "eval", s.split)
    record(folder, about | found | {"environment": environment(device)}, logits, labels)
    draw(folder, trained, pictures, found, logits, s)
    if s.json:
        print(json.dumps(about | found | {"folder": str(folder)}))
    else:
        print(f"cnnlab eval: {trained.folder}, step {trained.step:,}, device {describe(device)}")
        print(table(found, f"{about['dataset']} {s.split}"))
        print(f"\nnumbers, logits and figures: {folder}")
    return found["accuracy"]


def in_single_batches(logits: Tensor, labels: Tensor, size: int) -> dict[str, float]:
    """What a score of one shuffled batch, as the chapter's published scripts take it, would have been. Raises
    UsageError for a batch larger than the split."""
    try:
        rng = torch.Generator().manual_seed(0)
        return {"size": size, "draws": DRAWS} | single_batches(
            logits.argmax(1) == labels, size=size, draws=DRAWS, rng=rng
        )
    except ValueError as error:
        raise UsageError(f"single_batches: {error}") from error


def split_of(trained: trained_run.Trained, split: str) -> PictureSet:
    """The test set, or the part of the training set that the run trained on or validated with, or `trainval`, both;
    labelled by the run's own classes. Raises UsageError for a class that it does not know."""
    dataset = trained.config["dataset"]
    if split in ("test", "trainval"):
        pictures = by_name(trained_run.load_pictures(dataset, "test" if split == "test" else "train"), trained.classes)
    else:
        train, validation = trained_run.train_and_validation(dataset)
        pictures = by_name(train if split == "train" else validation, trained.classes)
    if pictures.fingerprint not in (None, trained.data):
        raise CnnlabError(
            f"the pictures below {plain(str(dataset.get('root')))} are not those that the run began with: what is "
            f"drawn from them now may be what it was trained on; a folder `test` beside `train` is free of that"
        )
    return pictures


def record(folder: Path, found: dict[str, Any], logits: Tensor, labels: Tensor) -> None:
    """scores.json, and the logits and labels that every number follows from."""
    write_json(folder / "scores.json", found)
    trained_run.write_answers(folder / "logits.safetensors", logits, labels)


def draw(
    folder: Path, trained: trained_run.Trained, pictures: PictureSet, found: dict[str, Any], logits: Tensor, s: Settings
) -> None:
    """The figures, as PNG and in TensorBoard, and the summary."""
    run = Run(folder)
    for name, image, numbers, _ in figures(pictures, trained.classes, found, logits, s.split, s.mistakes):
        run.figure(name, image, trained.step, numbers)
    summary = {
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "calibration_error": found["calibration"]["error"],
    }
    run.scalars(s.split, summary, trained.step)
    run.close()


def figures(
    pictures: PictureSet, classes: tuple[str, ...], found: dict[str, Any], logits: Tensor, split: str, mistakes: int
) -> Iterator[tuple[str, np.ndarray, Any, str]]:
    """Confusion matrix, reliability diagram and the most confident mistakes: (name, picture, numbers, title)."""
    wrong = found["pictures"] - found["correct"]
    title = f"{wrong:,} of {found['pictures']:,} {split} pictures are mistaken"
    confusion = {"classes": classes, "confusion": found["confusion"]}
    yield "confusion", confusion_figure(found["confusion"], classes, title), confusion, title
    calibration = found["calibration"]
    title = f"Confidence is off by {calibration['error']:.2%} on average"
    yield "reliability", reliability_figure(calibration, title), calibration, title
    rows = worst(logits, pictures.labels.cpu(), classes, mistakes)
    if rows:
        shown = some(pictures, [row["index"] for row in rows]).permute(0, 2, 3, 1).cpu()
        captions = [
            f"{label(row['predicted'])}? {row['probability']:.1%}\nis {label(row['true'])}, #{row['index']}"
            for row in rows
        ]
        few = len(rows) < wrong
        title = f"The {len(rows)} most confident of {wrong:,} mistakes" if few else f"All {wrong} mistakes"
        yield "mistakes", captioned_sheet(np.asarray(shown), captions, title), rows, title


def worst(logits: Tensor, labels: Tensor, classes: tuple[str, ...], most: int) -> list[dict[str, Any]]:
    """The mistaken pictures in which the network believed most firmly, the firmest first."""
    probability, predicted = logits.double().softmax(1).max(1)
    wrong = (predicted != labels).nonzero().flatten()
    order = wrong[probability[wrong].argsort(descending=True, stable=True)][:most].tolist()
    return [
        {
            "index": i,
            "predicted": classes[predicted[i]],
            "probability": float(probability[i]),
            "true": classes[labels[i]],
        }
        for i in order
    ]


def table(found: dict[str, Any], name: str) -> str:
    """The scores for a terminal of 80 columns."""
    low, high = found["interval_95"]
    rows = [
        f"\n{name}: accuracy {found['accuracy']:.2%} ({found['correct']:,} of {found['pictures']:,}; "
        f"95 % interval {low:.2%} to {high:.2%})",
        f"loss {found['loss']:.4f}, expected calibration error {found['calibration']['error']:.2%}",
        f"{'class':<20}{'pictures':>10}{'precision':>12}{'recall':>10}{'F1':>10}",
    ]
    if single := found.get("single_batches"):
        rows[1] += (
            f"\n{single['draws']:,} single batches of {single['size']}: mean {single['mean']:.2%}, deviation "
            f"{single['deviation']:.2%}, best {single['best']:.2%}"
        )
    rows[1] += "\n"
    for name, row in found["classes"].items():
        numbers = f"{row['precision']:>12.2%}{row['recall']:>10.2%}{row['f1']:>10.2%}"
        rows.append(f"{plain(name)[:19]:<20}{row['pictures']:>10,}{numbers}")
    return "\n".join(rows)
