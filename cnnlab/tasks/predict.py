"""`cnnlab predict`: a user's own pictures through a run."""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from cnnlab.core.device import pick_device
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.image import read_picture
from cnnlab.core.quoting import plain
from cnnlab.core.schema import Config, call
from cnnlab.data.adapt import fitted
from cnnlab.data.build import data_settings
from cnnlab.tasks.trained_run import Trained, load_run


@dataclass(frozen=True, kw_only=True)
class Settings:
    """configs/predict.yaml's keys and their types."""

    pictures: list[str]
    run: str
    checkpoint: str | int
    device: str
    top: int
    format: Literal["table", "csv", "json"]
    outputs: str

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1, not {self.top}")


def run(config: Config, overrides: list[str]) -> None:
    """Print each picture's class, its probability and the next likely ones. Pictures that cannot be read are all named
    once the others are done. Raises UsageError where none was given, CnnlabError where one was unreadable."""
    s = call(Settings, config, "")
    if not s.pictures:
        raise UsageError("no pictures: cnnlab predict PICTURE...")
    trained = load_run(s.run, checkpoint=s.checkpoint, device=pick_device(s.device), outputs=s.outputs)
    dark = data_settings(trained.config["dataset"]).light_on_dark
    rows, errors = [], []
    for name in s.pictures:
        try:
            image = read_picture(Path(name), side=None if dark else min(trained.shape[1:]))
            picture, changes = fitted(image, trained.shape, light_on_dark=dark)
        except CnnlabError as error:
            errors.append(str(error))
            continue
        rows.append({"picture": name, "changes": changes, "top": likely(trained, picture, s.top)})
    if rows:
        PRINTERS[s.format](rows, trained)
    if errors:
        raise CnnlabError("\ncnnlab: ".join(errors))


def likely(trained: Trained, picture: Tensor, top: int) -> list[dict[str, Any]]:
    """The `top` classes of a (C, H, W) uint8 picture and their probabilities, the likeliest first."""
    probabilities, which = trained(picture.unsqueeze(0))[0].sort(descending=True)
    pairs = list(zip(which.tolist(), probabilities.tolist(), strict=True))[:top]
    return [{"class": trained.classes[k], "probability": p} for k, p in pairs]


def print_table(rows: list[dict[str, Any]], trained: Trained) -> None:
    print(f"cnnlab predict: {trained.folder}, {trained.config['model']['name']}, step {trained.step:,}")
    for row in rows:
        first, *others = row["top"]
        changes = f" ({', '.join(row['changes'])})" if row["changes"] else ""
        print(f"\n{plain(row['picture'])}{changes}\n  {plain(first['class']):<20}{first['probability']:>8.2%}")
        for other in others:
            print(f"    {plain(other['class']):<18}{other['probability']:>8.2%}")


def print_csv(rows: list[dict[str, Any]], trained: Trained) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["picture", "rank", "class", "probability", "changes"])
    for row in rows:
        for rank, one in enumerate(row["top"], 1):
            writer.writerow([row["picture"], rank, one["class"], one["probability"], "; ".join(row["changes"])])


def print_json(rows: list[dict[str, Any]], trained: Trained) -> None:
    print(json.dumps({"run": str(trained.folder), "step": trained.step, "pictures": rows}))


PRINTERS = {"csv": print_csv, "json": print_json, "table": print_table}
