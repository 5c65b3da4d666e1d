"""What a network makes of the pictures on a map, and what it takes each for."""

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

MAX_THUMBNAIL_SIDE = 64  # pixels at most of a picture's side, as the map keeps it
MAX_FEATURE_BYTES = 2**33  # bytes of features that are held
FeatureExtractor = Callable[
    [Tensor], tuple[Tensor, Tensor | None]
]  # (N, C, H, W) uint8 -> (N, D) features, (N, K) logits


@dataclass(frozen=True)
class FeatureSet:
    """(N, D) float32 features, on the device, of the pictures of a scene: (N, H, W, C) uint8, at most SHOWN pixels a
    side, and labels, names and numbers as a batch has them; (N,) predictions and probabilities, where there are."""

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
        """(N,) which are the user's."""
        return self.indices < 0

    @property
    def is_misclassified(self) -> Tensor | None:
        """(N,) which are taken for what they are not."""
        return (
            None
            if self.predictions is None
            else (self.predictions != self.labels) & (self.labels >= 0)
        )


def pixel_extractor(trained: TrainedRun) -> tuple[FeatureExtractor, str]:
    """The pictures themselves, in 0..1 as the run's pipeline cuts them; the run's answers go with them."""
    pipeline = trained.preprocess

    def extract(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        shown = pipeline.apply_before_normalize(pixels)
        return shown.flatten(1), trained.model(pipeline.normalize(shown))

    return extract, "the pixels"


def layer_extractor(
    model: nn.Module,
    prepare: Callable[[Tensor], Tensor],
    name: str | None,
    *,
    has_class_logits: bool,
) -> tuple[FeatureExtractor, str]:
    """What comes out of a layer, flattened, or for None what goes into the last one; `answers`: whether the network
    knows the pictures' classes; and the layer, in words. Raises UsageError for a layer that there is not."""
    last = find_last_linear(model)
    if name is None and last is None:
        raise UsageError("the network ends in no fully connected layer: say which layer= is meant")
    if name is not None:
        get_layer(model, name)
    inside, outside = ([str(last)], []) if name is None else ([], [name])

    def extract(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        entering, leaving, logits = capture(model, prepare(pixels), inside, outside)
        (features,) = (entering | leaving).values()
        return features.flatten(1), logits if has_class_logits else None

    return extract, f"what {name} gives" if name else f"what goes into {last}"


def extract_features(
    batches: Iterable[ImageBatch], extract: FeatureExtractor, device: torch.device
) -> FeatureSet:
    """Batches of pictures through a network, one view each. Raises CnnlabError where the features are more than can be
    held."""
    x, pixels, labels, names, index, best, held = [], [], [], list[str](), [], [], 0
    with torch.inference_mode():
        for batch in batches:
            features, logits = extract(batch.pixels.to(device))
            held += features.numel() * 4
            if held > MAX_FEATURE_BYTES:
                raise CnnlabError(
                    f"{features.shape[1]:,} numbers of each picture are more than {MAX_FEATURE_BYTES >> 30} GB: fewer pictures "
                    f"(n=), or a later layer="
                )
            x.append(features.float().clone())
            pixels.append(shrink_to_thumbnails(batch.pixels).permute(0, 2, 3, 1).cpu())
            labels.append(batch.labels)
            names += batch.names
            index.append(batch.indices)
            if logits is not None:
                best.append(logits.float().softmax(1).max(1))
    return FeatureSet(
        torch.cat(x),
        torch.cat(pixels).numpy(),
        torch.cat(labels),
        names,
        torch.cat(index),
        torch.cat([one.indices for one in best]).cpu() if best else None,
        torch.cat([one.values for one in best]).cpu() if best else None,
    )


def shrink_to_thumbnails(pixels: Tensor) -> Tensor:
    """(N, C, H, W) uint8, shrunk where a side is longer than SHOWN."""
    longest = max(pixels.shape[2:])
    if longest <= MAX_THUMBNAIL_SIDE:
        return pixels
    size = [max(1, round(side * MAX_THUMBNAIL_SIDE / longest)) for side in pixels.shape[2:]]
    return as_uint8(F.interpolate(pixels.float() / 255, size=size, mode="bilinear", antialias=True))


def check_features(one: FeatureSet, where: str) -> FeatureSet:
    """The same, if a map can be made of it. Raises UsageError or CnnlabError with what is wrong and what to do."""
    if len(one) < 5:
        raise UsageError(f"a map wants five pictures or more, and there are {len(one)}")
    bad = (~one.features.isfinite().all(1)).nonzero().flatten()
    if len(bad):
        raise CnnlabError(
            f"{where} is not finite for {len(bad):,} of {len(one):,} pictures, first {one.names[int(bad[0])]}: "
            f"did the training diverge? Another run, or checkpoint=best"
        )
    if bool((one.features == one.features[0]).all()):
        raise CnnlabError(
            f"{where} is the same for all {len(one):,} pictures: another layer=, or another run"
        )
    return one
