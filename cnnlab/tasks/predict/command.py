"""`cnnlab predict`: a user's own images through a run."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from cnnlab.core.device import pick_device
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.image import read_image
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked
from cnnlab.data.adapt import adapt_image
from cnnlab.data.build import parse_data_settings
from cnnlab.tasks.predict.settings import PredictSettings
from cnnlab.tasks.trained_run import TrainedRun, load_run


def run(config: Config, overrides: list[str]) -> None:
    """Print each image's class, its probability and the next likely ones. Images that cannot be read are all named
    once the others are done. Raises UsageError where none was given, CnnlabError where one was unreadable."""
    s = call_checked(PredictSettings, config, "")
    if not s.images:
        raise UsageError("no images: cnnlab predict IMAGE...")
    trained = load_run(
        s.run, checkpoint=s.checkpoint, device=pick_device(s.device), outputs=s.outputs
    )
    dark = parse_data_settings(trained.config["dataset"]).light_on_dark
    rows, errors = [], []
    for name in s.images:
        try:
            image = read_image(Path(name), target_side=None if dark else min(trained.shape[1:]))
            pixels, changes = adapt_image(image, trained.shape, light_on_dark=dark)
        except CnnlabError as error:
            errors.append(str(error))
            continue
        rows.append(
            {"image": name, "changes": changes, "top": predict_top_k(trained, pixels, s.top_k)}
        )
    if rows:
        PREDICTION_PRINTERS[s.format](rows, trained)
    if errors:
        raise CnnlabError("\ncnnlab: ".join(errors))


def predict_top_k(trained: TrainedRun, image: Tensor, top: int) -> list[dict[str, Any]]:
    """The `top` classes of a (C, H, W) uint8 image and their probabilities, the likeliest first."""
    probabilities, which = trained(image.unsqueeze(0))[0].sort(descending=True)
    pairs = list(zip(which.tolist(), probabilities.tolist(), strict=True))[:top]
    return [{"class": trained.classes[k], "probability": p} for k, p in pairs]


def print_predictions_table(rows: list[dict[str, Any]], trained: TrainedRun) -> None:
    print(
        f"cnnlab predict: {trained.folder}, {trained.config['model']['name']}, step {trained.step:,}"
    )
    for row in rows:
        first, *others = row["top"]
        changes = f" ({', '.join(row['changes'])})" if row["changes"] else ""
        print(
            f"\n{printable(row['image'])}{changes}\n  {printable(first['class']):<20}{first['probability']:>8.2%}"
        )
        for other in others:
            print(f"    {printable(other['class']):<18}{other['probability']:>8.2%}")


def print_predictions_csv(rows: list[dict[str, Any]], trained: TrainedRun) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "rank", "class", "probability", "changes"])
    for row in rows:
        for rank, one in enumerate(row["top"], 1):
            writer.writerow(
                [row["image"], rank, one["class"], one["probability"], "; ".join(row["changes"])]
            )


def print_predictions_json(rows: list[dict[str, Any]], trained: TrainedRun) -> None:
    print(json.dumps({"run": str(trained.folder), "step": trained.step, "images": rows}))


PREDICTION_PRINTERS = {
    "csv": print_predictions_csv,
    "json": print_predictions_json,
    "table": print_predictions_table,
}
