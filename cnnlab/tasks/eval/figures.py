"""The figures of `cnnlab eval`: confusion matrix, reliability diagram, most confident mistakes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from cnnlab.data.dataset import ImageSet, gather_images
from cnnlab.viz.base import format_label
from cnnlab.viz.plots import draw_captioned_images, plot_confusion_matrix, plot_reliability_diagram


def build_eval_figures(
    image_set: ImageSet,
    classes: tuple[str, ...],
    scores: dict[str, Any],
    logits: Tensor,
    split: str,
    mistakes: int,
) -> Iterator[tuple[str, np.ndarray, Any, str]]:
    """Yield each figure as (name, image, numbers, title)."""
    wrong = scores["images"] - scores["correct"]
    title = f"{wrong:,} of {scores['images']:,} {split} images misclassified"
    confusion = {"classes": classes, "confusion": scores["confusion"]}
    yield "confusion", plot_confusion_matrix(scores["confusion"], classes, title), confusion, title
    calibration = scores["calibration"]
    title = f"Expected calibration error {calibration['error']:.2%}"
    yield "reliability", plot_reliability_diagram(calibration, title), calibration, title
    rows = find_confident_mistakes(logits, image_set.labels.cpu(), classes, mistakes)
    if rows:
        images = gather_images(image_set, [row["index"] for row in rows]).permute(0, 2, 3, 1).cpu()
        captions = [caption_mistake(row) for row in rows]
        title = f"All {wrong} mistakes"
        if len(rows) < wrong:
            title = f"The {len(rows)} most confident of {wrong:,} mistakes"
        yield "mistakes", draw_captioned_images(np.asarray(images), captions, title), rows, title


def caption_mistake(row: dict[str, Any]) -> str:
    """Return a row of `find_confident_mistakes` as a caption of two lines."""
    predicted, label = format_label(row["predicted"]), format_label(row["label"])
    return f"{predicted}? {row['probability']:.1%}\nis {label}, #{row['index']}"


def find_confident_mistakes(
    logits: Tensor, labels: Tensor, classes: tuple[str, ...], max_images: int
) -> list[dict[str, Any]]:
    """Return the misclassified images of highest confidence, the most confident first."""
    probability, predicted = logits.double().softmax(1).max(1)
    wrong = (predicted != labels).nonzero().flatten()
    order = wrong[probability[wrong].argsort(descending=True, stable=True)][:max_images].tolist()
    return [
        {
            "index": i,
            "predicted": classes[predicted[i]],
            "probability": float(probability[i]),
            "label": classes[labels[i]],
        }
        for i in order
    ]
