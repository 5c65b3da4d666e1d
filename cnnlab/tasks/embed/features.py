"""Extract the features of the images on a map, and the network's predictions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.hooks import capture, find_last_linear, get_layer
from cnnlab.data.operation import as_uint8
from cnnlab.tasks.embed.images import ImageBatch
from cnnlab.tasks.trained_run import TrainedRun

MAX_THUMBNAIL_SIDE = 64  # pixels
MAX_FEATURE_BYTES = 2**33  # of all features together
FeatureExtractor = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""(N, C, H, W) uint8 -> (N, D) features and (N, K) logits, or None."""


@dataclass(frozen=True)
class FeatureSet:
    """The features and predictions of the images on a map.

    `features`: (N, D) float32, on the device; `thumbnails`: (N, H, W, C) uint8, at most
    MAX_THUMBNAIL_SIDE pixels a side; `labels`, `names`, `indices` as in ImageBatch;
    `predictions`, `probabilities`: (N,), or None where the network does not know the classes.
    """

    features: Tensor
    thumbnails: np.ndarray
    labels: Tensor
    names: list[str]
    indices: Tensor
    predictions: Tensor | None
    probabilities: Tensor | None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def is_user_image(self) -> Tensor:
        """(N,) bool: the images of the user's folder."""
        return self.indices < 0

    @property
    def is_misclassified(self) -> Tensor | None:
        """(N,) bool: labeled images with a wrong prediction; None without predictions."""
        if self.predictions is None:
            return None
        return (self.predictions != self.labels) & (self.labels >= 0)


def pixel_extractor(trained: TrainedRun) -> tuple[FeatureExtractor, str]:
    """Return an extractor of the preprocessed pixels in 0..1 and the run's logits, and its name."""
    pipeline = trained.preprocess

    def extract(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        images = pipeline.apply_before_normalize(pixels)
        return images.flatten(1), trained.model(pipeline.normalize(images))

    return extract, "pixel values"


def layer_extractor(
    model: nn.Module,
    prepare: Callable[[Tensor], Tensor],
    name: str | None,
    *,
    has_class_logits: bool,
) -> tuple[FeatureExtractor, str]:
    """Return an extractor of a layer's flattened output, and its name.

    For None: the penultimate features, which are the input of the last linear layer.
    `has_class_logits`: whether the network's outputs are the classes of the images. Raises
    UsageError for an unknown layer.
    """
    last = find_last_linear(model)
    if name is None and last is None:
        raise UsageError("the network does not end in a linear layer: choose one with layer=NAME")
    if name is not None:
        get_layer(model, name)
    inputs, outputs = ([str(last)], []) if name is None else ([], [name])

    def extract(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        entering, leaving, logits = capture(model, prepare(pixels), inputs, outputs)
        (features,) = (entering | leaving).values()
        return features.flatten(1), logits if has_class_logits else None

    return extract, f"{name} features" if name else "penultimate features"


def extract_features(
    batches: Iterable[ImageBatch], extract: FeatureExtractor, device: torch.device
) -> FeatureSet:
    """Return the features of batches of images, one view of each image.

    Raises CnnlabError where the features exceed MAX_FEATURE_BYTES.
    """
    features, thumbnails, labels, indices = [], [], [], []
    names, predictions, used_bytes = list[str](), [], 0
    with torch.inference_mode():
        for batch in batches:
            batch_features, logits = extract(batch.pixels.to(device))
            used_bytes += batch_features.numel() * 4
            check_feature_bytes(used_bytes, batch_features.shape[1])
            features.append(batch_features.float().clone())
            thumbnails.append(shrink_to_thumbnails(batch.pixels).permute(0, 2, 3, 1).cpu())
            labels.append(batch.labels)
            names += batch.names
            indices.append(batch.indices)
            if logits is not None:
                predictions.append(logits.float().softmax(1).max(1))
    classes = [best.indices for best in predictions]
    probabilities = [best.values for best in predictions]
    return FeatureSet(
        torch.cat(features),
        torch.cat(thumbnails).numpy(),
        torch.cat(labels),
        names,
        torch.cat(indices),
        torch.cat(classes).cpu() if predictions else None,
        torch.cat(probabilities).cpu() if predictions else None,
    )


def check_feature_bytes(used_bytes: int, dimensions: int) -> None:
    """Raise CnnlabError where the features exceed MAX_FEATURE_BYTES."""
    if used_bytes > MAX_FEATURE_BYTES:
        raise CnnlabError(
            f"{dimensions:,}-dimensional features exceed {MAX_FEATURE_BYTES >> 30} GB: choose "
            "fewer images (n=) or a later layer="
        )


def shrink_to_thumbnails(pixels: Tensor) -> Tensor:
    """Shrink (N, C, H, W) uint8 where a side is longer than MAX_THUMBNAIL_SIDE."""
    longest = max(pixels.shape[2:])
    if longest <= MAX_THUMBNAIL_SIDE:
        return pixels
    size = [max(1, round(side * MAX_THUMBNAIL_SIDE / longest)) for side in pixels.shape[2:]]
    return as_uint8(F.interpolate(pixels.float() / 255, size=size, mode="bilinear", antialias=True))


def check_features(feature_set: FeatureSet, source: str) -> FeatureSet:
    """Return the features if a map can be computed; else raise CnnlabError."""
    n, features = len(feature_set), feature_set.features
    bad = (~features.isfinite().all(1)).nonzero().flatten()
    if len(bad):
        raise CnnlabError(
            f"the {source} are not finite for {len(bad):,} of {n:,} images, first "
            f"{feature_set.names[int(bad[0])]}: did training diverge? Try another run, or "
            f"checkpoint=best"
        )
    if bool((features == features[0]).all()):
        raise CnnlabError(
            f"the {source} are the same for all {n:,} images: try another layer= or another run"
        )
    return feature_set
