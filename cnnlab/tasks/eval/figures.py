"""The figures of `cnnlab eval`: confusion matrix, reliability diagram, most confident mistakes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from cnnlab.data.dataset import PictureSet, some
from cnnlab.viz.base import label
from cnnlab.viz.plots import captioned_sheet, confusion_figure, reliability_figure


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
