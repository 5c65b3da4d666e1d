"""`cnnlab predict`: classify a user's own images with a run."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from cnnlab.core.device import pick_device
from cnnlab.core.display_text import count_columns, format_cell
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import path_exists
from cnnlab.core.quoting import as_override, printable
from cnnlab.core.run_index import is_run
from cnnlab.core.schema import Config, call_checked
from cnnlab.data.user_images import (
    UnreadableImages,
    expand_folders,
    find_user_image_target,
    read_user_image,
)
from cnnlab.tasks.predict.settings import PredictSettings
from cnnlab.tasks.trained_run import TrainedRun, load_run

MIN_NAME_COLUMNS, MAX_NAME_COLUMNS = 17, 66  # of a class's name in the table


def run(config: Config, overrides: list[str]) -> None:
    """Print the most probable classes of each image, and of each in a folder, with probabilities.

    Unreadable images are reported together after the others. Raises UsageError if no image is
    given, CnnlabError if an image is unreadable.
    """
    settings = call_checked(PredictSettings, config, "")
    if not settings.images:
        raise UsageError("no images: cnnlab predict IMAGE_OR_FOLDER...")
    refuse_runs(settings.images)
    device = pick_device(settings.device)
    trained = load_run(
        settings.run, checkpoint=settings.checkpoint, device=device, outputs=settings.outputs
    )
    target = find_user_image_target(trained.config["dataset"], trained.shape)
    rows, unreadable = [], UnreadableImages()
    for name in expand_folders(settings.images, unreadable):
        try:
            pixels, changes = read_user_image(name, target)
        except CnnlabError as error:
            unreadable.add(name, error)
            continue
        top = predict_top_k(trained, pixels, settings.top_k)
        rows.append({"image": name, "changes": changes, "top": top})
    if rows:
        PREDICTION_PRINTERS[settings.format](rows, trained)
    unreadable.raise_if_any()


def refuse_runs(names: list[str]) -> None:
    """Raise UsageError for a run's folder among the images: its figures are not what is meant."""
    for name in names:
        if path_exists(Path(name)) and is_run(Path(name)):
            raise UsageError(
                f"{printable(name)} is a run, not images\nto predict with it: "
                f"cnnlab predict IMAGE_OR_FOLDER... {as_override('run', name)}"
            )


def predict_top_k(trained: TrainedRun, image: Tensor, top_k: int) -> list[dict[str, Any]]:
    """Return the `top_k` most probable classes of a (C, H, W) uint8 image, in descending order."""
    probabilities, classes = trained(image.unsqueeze(0))[0].sort(descending=True)
    pairs = list(zip(classes.tolist(), probabilities.tolist(), strict=True))[:top_k]
    return [{"class": trained.classes[k], "probability": p} for k, p in pairs]


def print_predictions_table(rows: list[dict[str, Any]], trained: TrainedRun) -> None:
    model = trained.config["model"]["name"]
    print(f"cnnlab predict: {model}, step {trained.step:,}\n{trained.folder}")
    columns = [count_columns(printable(top["class"])) for row in rows for top in row["top"]]
    width = min(max(MIN_NAME_COLUMNS, *columns), MAX_NAME_COLUMNS)
    for row in rows:
        first, *others = row["top"]
        print(f"\n{printable(row['image'])}")
        if row["changes"]:
            print(f"  {', '.join(row['changes'])}")
        print(f"  {format_cell(first['class'], width + 2)}{first['probability']:>9.2%}")
        for other in others:
            print(f"    {format_cell(other['class'], width)}{other['probability']:>9.2%}")


def print_predictions_csv(rows: list[dict[str, Any]], trained: TrainedRun) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "rank", "class", "probability", "changes"])
    for row in rows:
        changes = "; ".join(row["changes"])
        for rank, top in enumerate(row["top"], 1):
            writer.writerow([row["image"], rank, top["class"], top["probability"], changes])


def print_predictions_json(rows: list[dict[str, Any]], trained: TrainedRun) -> None:
    print(json.dumps({"run": str(trained.folder), "step": trained.step, "images": rows}))


PREDICTION_PRINTERS = {
    "csv": print_predictions_csv,
    "json": print_predictions_json,
    "table": print_predictions_table,
}
