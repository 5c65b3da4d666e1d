"""`cnnlab eval`: a run scored by its own configuration, in numbers and pictures."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.device import describe_device, pick_device, use_threads
from cnnlab.core.errors import UsageError
from cnnlab.core.files import make_run_folder, write_json
from cnnlab.core.predictions import write_predictions
from cnnlab.core.provenance import collect_environment
from cnnlab.core.quoting import printable
from cnnlab.core.run import Run
from cnnlab.core.schema import Config, call_checked
from cnnlab.data.batches import iterate_in_order
from cnnlab.data.dataset import ImageSet
from cnnlab.engine.evaluate import predict_logits
from cnnlab.engine.metrics import NUM_BATCH_DRAWS, classification_report, sample_batch_accuracies
from cnnlab.tasks.eval.figures import build_eval_figures
from cnnlab.tasks.eval.settings import EvalSettings
from cnnlab.tasks.trained_run import TrainedRun, load_run, load_split


def run(config: Config, overrides: list[str]) -> float:
    """Score a run, write RUN/eval/<date>_<time>_<split>/ and print; returns the accuracy."""
    s = call_checked(EvalSettings, config, "")
    device = pick_device(s.device)
    trained = load_run(s.run, checkpoint=s.checkpoint, device=device, outputs=s.outputs)
    pictures = load_split(trained, s.split).to(device)
    batch_size = s.batch_size or trained.config["eval_batch_size"]
    with use_threads(
        trained.config.get("threads")
    ):  # as it was trained: their number shows in the last bits
        logits, labels = predict_logits(
            trained.model, iterate_in_order(pictures, trained.preprocess, batch_size=batch_size)
        )
    found = classification_report(logits, labels, trained.classes)
    if s.single_batch_size is not None:
        found["single_batches"] = score_single_batches(logits, labels, s.single_batch_size)
    about = {
        "run": str(trained.folder),
        "step": trained.step,
        "dataset": trained.config["dataset"]["name"],
        "split": s.split,
    }
    folder = make_run_folder(trained.folder / "eval", s.split)
    write_scores(
        folder, about | found | {"environment": collect_environment(device)}, logits, labels
    )
    log_eval_figures(folder, trained, pictures, found, logits, s)
    if s.json:
        print(json.dumps(about | found | {"folder": str(folder)}))
    else:
        print(
            f"cnnlab eval: {trained.folder}, step {trained.step:,}, device {describe_device(device)}"
        )
        print(format_score_table(found, f"{about['dataset']} {s.split}"))
        print(f"\nnumbers, logits and figures: {folder}")
    return found["accuracy"]


def score_single_batches(logits: Tensor, labels: Tensor, size: int) -> dict[str, float]:
    """What a score of one shuffled batch, as the chapter's published scripts take it, would have been. Raises
    UsageError for a batch larger than the split."""
    try:
        rng = torch.Generator().manual_seed(0)
        return {"size": size, "num_batches": NUM_BATCH_DRAWS} | sample_batch_accuracies(
            logits.argmax(1) == labels, batch_size=size, num_batches=NUM_BATCH_DRAWS, rng=rng
        )
    except ValueError as error:
        raise UsageError(f"single_batch_size: {error}") from error


def write_scores(folder: Path, found: dict[str, Any], logits: Tensor, labels: Tensor) -> None:
    """scores.json, and the logits and labels that every number follows from."""
    write_json(folder / "scores.json", found)
    write_predictions(folder / "logits.safetensors", logits, labels)


def log_eval_figures(
    folder: Path,
    trained: TrainedRun,
    pictures: ImageSet,
    found: dict[str, Any],
    logits: Tensor,
    s: EvalSettings,
) -> None:
    """The figures, as PNG and in TensorBoard, and the summary."""
    run = Run(folder)
    for name, image, numbers, _ in build_eval_figures(
        pictures, trained.classes, found, logits, s.split, s.mistakes
    ):
        run.save_figure(name, image, trained.step, numbers)
    summary = {
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "calibration_error": found["calibration"]["error"],
    }
    run.log_scalars(s.split, summary, trained.step)
    run.close()


def format_score_table(found: dict[str, Any], name: str) -> str:
    """The scores for a terminal of 80 columns."""
    low, high = found["interval_95"]
    rows = [
        f"\n{name}: accuracy {found['accuracy']:.2%} ({found['correct']:,} of {found['images']:,}; "
        f"95 % interval {low:.2%} to {high:.2%})",
        f"loss {found['loss']:.4f}, expected calibration error {found['calibration']['error']:.2%}",
        f"{'class':<20}{'pictures':>10}{'precision':>12}{'recall':>10}{'F1':>10}",
    ]
    if single := found.get("single_batches"):
        rows[1] += (
            f"\n{single['num_batches']:,} single batches of {single['size']}: mean {single['mean']:.2%}, deviation "
            f"{single['std']:.2%}, best {single['best']:.2%}"
        )
    rows[1] += "\n"
    for name, row in found["classes"].items():
        numbers = f"{row['precision']:>12.2%}{row['recall']:>10.2%}{row['f1']:>10.2%}"
        rows.append(f"{printable(name)[:19]:<20}{row['images']:>10,}{numbers}")
    return "\n".join(rows)
