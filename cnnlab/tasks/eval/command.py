"""`cnnlab eval`: evaluate a run on a split of its data set."""

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
from cnnlab.core.run import Run
from cnnlab.core.schema import Config, call_checked
from cnnlab.data.batches import iterate_in_order
from cnnlab.data.dataset import ImageSet
from cnnlab.data.folder_report import describe_left_out
from cnnlab.data.settings import MovedDataSettings
from cnnlab.engine.evaluate import predict_logits
from cnnlab.engine.metrics import NUM_BATCH_DRAWS, classification_report, sample_batch_accuracies
from cnnlab.tasks.eval.figures import build_eval_figures
from cnnlab.tasks.eval.settings import EvalSettings
from cnnlab.tasks.eval.tables import format_score_table
from cnnlab.tasks.trained_run import TrainedRun, load_run, load_split


def run(config: Config, overrides: list[str]) -> float:
    """Evaluate a run, write RUN/eval/<date>_<time>_<split>/, print; return the accuracy."""
    settings = call_checked(EvalSettings, config, "")
    call_checked(MovedDataSettings, settings.dataset, "dataset")
    device = pick_device(settings.device)
    trained = load_run(
        settings.run,
        checkpoint=settings.checkpoint,
        device=device,
        outputs=settings.outputs,
        dataset=settings.dataset,
    )
    image_set = load_split(trained, settings.split).to(device)
    logits, labels = compute_logits(trained, image_set, settings.batch_size)
    scores = classification_report(logits, labels, trained.classes)
    if settings.single_batch_size is not None:
        scores["single_batches"] = score_single_batches(logits, labels, settings.single_batch_size)
    header = {
        "run": str(trained.folder),
        "step": trained.step,
        "dataset": trained.config["dataset"]["name"],
        "split": settings.split,
        "precision": trained.precision,
    }
    folder = make_run_folder(trained.choose_result_parent("eval", settings.outputs), settings.split)
    environment = {"environment": collect_environment(device)}
    write_scores(folder, header | scores | environment, logits, labels)
    log_eval_figures(folder, trained, image_set, scores, logits, settings)
    if settings.json:
        print(json.dumps(header | scores | {"folder": str(folder)}))
    else:
        where = f"step {trained.step:,}, device {describe_device(device)}"
        print(f"cnnlab eval: {where}\n{trained.folder}")
        print(format_score_table(scores, header["dataset"], settings.split))
        for line in describe_left_out(image_set):
            print(line)
        print(f"\nnumbers, logits and figures:\n{folder}")
    return scores["accuracy"]


def compute_logits(
    trained: TrainedRun, image_set: ImageSet, batch_size: int | None
) -> tuple[Tensor, Tensor]:
    """Return the (N, K) logits and (N,) labels of a data set; batches as in the run for None."""
    batch_size = batch_size or trained.config["eval_batch_size"]
    batches = iterate_in_order(image_set, trained.preprocess, batch_size=batch_size)
    # The number of threads changes the last bits: use that of the training.
    with use_threads(trained.config.get("threads")), trained.use_precision():
        return predict_logits(trained.model, batches)


def score_single_batches(logits: Tensor, labels: Tensor, size: int) -> dict[str, float]:
    """Return statistics of the accuracy on single random batches, as the chapter's scripts report.

    Raises UsageError for a batch larger than the split.
    """
    try:
        rng = torch.Generator().manual_seed(0)
        return {"size": size, "num_batches": NUM_BATCH_DRAWS} | sample_batch_accuracies(
            logits.argmax(1) == labels, batch_size=size, num_batches=NUM_BATCH_DRAWS, rng=rng
        )
    except ValueError as error:
        raise UsageError(f"single_batch_size: {error}") from error


def write_scores(folder: Path, scores: dict[str, Any], logits: Tensor, labels: Tensor) -> None:
    """Write scores.json, and the logits and labels that every number is computed from."""
    write_json(folder / "scores.json", scores)
    write_predictions(folder / "logits.safetensors", logits, labels)


def log_eval_figures(
    folder: Path,
    trained: TrainedRun,
    image_set: ImageSet,
    scores: dict[str, Any],
    logits: Tensor,
    settings: EvalSettings,
) -> None:
    """Write the figures as PNG and to TensorBoard, and the summary metrics."""
    run = Run(folder)
    for name, image, numbers, _ in build_eval_figures(
        image_set, trained.classes, scores, logits, settings.split, settings.mistakes
    ):
        run.save_figure(name, image, trained.step, numbers)
    summary = {
        "accuracy": scores["accuracy"],
        "loss": scores["loss"],
        "calibration_error": scores["calibration"]["error"],
    }
    run.log_scalars(settings.split, summary, trained.step)
    run.close()
