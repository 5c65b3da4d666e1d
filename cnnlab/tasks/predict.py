"""`cnnlab predict`: a user's own pictures through a run."""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnnlab.core.device import pick_device
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.image import centred, read_picture
from cnnlab.core.schema import call
from cnnlab.core.quoting import plain
from cnnlab.tasks import trained_run


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


def run(config: trained_run.Config, overrides: list[str]) -> None:
    """Print each picture's class, its probability and the next likely ones. Pictures that cannot be read are all named
    once the others are done. Raises UsageError where none was given, CnnlabError where one was unreadable."""
    s = call(Settings, config, "")
    if not s.pictures:
        raise UsageError("no pictures: cnnlab predict PICTURE...")
    trained = trained_run.load_run(s.run, checkpoint=s.checkpoint, device=pick_device(s.device), outputs=s.outputs)
    dark = trained_run.data_settings(trained.config["dataset"]).light_on_dark
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


def likely(trained: trained_run.Trained, picture: Tensor, top: int) -> list[dict[str, Any]]:
    """The `top` classes of a (C, H, W) uint8 picture and their probabilities, the likeliest first."""
    probabilities, which = trained(picture.unsqueeze(0))[0].sort(descending=True)
    pairs = list(zip(which.tolist(), probabilities.tolist(), strict=True))[:top]
    return [{"class": trained.classes[k], "probability": p} for k, p in pairs]


def fitted(image: Image.Image, shape: tuple[int, int, int], *, light_on_dark: bool) -> tuple[Tensor, list[str]]:
    """A picture as the run's data set has them, (C, H, W) uint8, and what had to be done to it, in words.

    Data that are light strokes on dark: dark on light is inverted, and what is not square is padded with its
    border's shade. Other data: the short side is resized and the centre cut out, as `dataset=folder` does.
    """
    depth, height, width = shape
    changes = []
    if image.mode != ("L" if depth == 1 else "RGB"):
        changes.append("made grey" if depth == 1 else "made RGB")
        image = image.convert("L" if depth == 1 else "RGB")
    shade = border(image)
    if light_on_dark and shade > 127:
        changes.append("inverted")
        image, shade = ImageOps.invert(image), 255 - shade
    if image.size != (width, height):
        how = ("padded, " if light_on_dark else "its centre ") if image.width * height != image.height * width else ""
        changes.append(f"{image.width}x{image.height} {how}resized to {width}x{height}")
        fill = shade if depth == 1 else (shade,) * 3
        # Shrinking averages the pixels that fall together, so that nothing is invented at the strokes' edges.
        method = Image.Resampling.BOX if min(image.size) > max(width, height) else Image.Resampling.BICUBIC
        if light_on_dark:
            image = ImageOps.pad(image, (width, height), method=method, color=fill)
        else:
            image = centred(image, width) if width == height else ImageOps.fit(image, (width, height), method=method)
    pixels = torch.from_numpy(np.array(image)).view(height, width, depth)
    return pixels.permute(2, 0, 1), changes


def border(image: Image.Image) -> int:
    """The median shade of a picture's outermost pixels, 0..255."""
    grey = np.asarray(image.convert("L"))
    return int(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))


def print_table(rows: list[dict[str, Any]], trained: trained_run.Trained) -> None:
    print(f"cnnlab predict: {trained.folder}, {trained.config['model']['name']}, step {trained.step:,}")
    for row in rows:
        first, *others = row["top"]
        changes = f" ({', '.join(row['changes'])})" if row["changes"] else ""
        print(f"\n{plain(row['picture'])}{changes}\n  {plain(first['class']):<20}{first['probability']:>8.2%}")
        for other in others:
            print(f"    {plain(other['class']):<18}{other['probability']:>8.2%}")


def print_csv(rows: list[dict[str, Any]], trained: trained_run.Trained) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["picture", "rank", "class", "probability", "changes"])
    for row in rows:
        for rank, one in enumerate(row["top"], 1):
            writer.writerow([row["picture"], rank, one["class"], one["probability"], "; ".join(row["changes"])])


def print_json(rows: list[dict[str, Any]], trained: trained_run.Trained) -> None:
    print(json.dumps({"run": str(trained.folder), "step": trained.step, "pictures": rows}))


PRINTERS = {"csv": print_csv, "json": print_json, "table": print_table}
