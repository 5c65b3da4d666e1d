"""Find near-duplicates across splits (Barz & Denzler 2020 found 3 % in CIFAR-10's test set)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.data.build import load_dataset
from cnnlab.data.dataset import ImageSet, Split
from cnnlab.projection.knn import find_neighbors
from cnnlab.tasks.embed.images import ImageSelection
from cnnlab.tasks.trained_run import TrainedRun

COMPARISON_SIDE = 16  # pixels: larger images are shrunk before the comparison
REFERENCE_NEIGHBOR = 10
MAX_COMPARED_IMAGES = 100_000  # of the other split; larger ones take too long and are skipped


@dataclass(frozen=True)
class NearDuplicate:
    """An image and its near-duplicate in the other split.

    `map_index`: the image's index on the map; `match`: the near-duplicate's name;
    `distance_ratio`: their distance relative to that of the tenth nearest image.
    """

    map_index: int
    match: str
    distance: float
    distance_ratio: float


def find_near_duplicates(
    selection: ImageSelection, trained: TrainedRun | None, max_ratio: float | None
) -> list[NearDuplicate]:
    """Return the images that have near-duplicates in the other split.

    The other split is train for test images, and test for all others. The list is empty where
    `max_ratio` is None, and without a run.
    """
    if trained is None or selection.images is None or not max_ratio:
        return []
    side: Split = "train" if selection.split == "test" else "test"
    other = load_dataset(trained.config["dataset"], side).to(selection.images.labels.device)
    if len(other) > MAX_COMPARED_IMAGES:
        return []
    name = "trainval" if side == "train" else side  # the validation images are among them
    return match_near_duplicates(
        selection.images, selection.indices, other, name, max_ratio, selection.batch_size
    )


def match_near_duplicates(
    images: ImageSet,
    index: Tensor,
    other: ImageSet,
    other_name: str,
    max_ratio: float,
    batch_size: int,
) -> list[NearDuplicate]:
    """Return the images at (N,) `index` that have a near-duplicate in `other`.

    Images are shrunk, centered and normalized. A small distance alone means little: all digits 1
    look alike, and all blue skies. The nearest image is a near-duplicate where its distance is
    below `max_ratio` times that of the tenth nearest.
    """
    if len(other) <= REFERENCE_NEIGHBOR:
        return []
    d, neighbors = find_neighbors(
        compute_descriptors(images, index, batch_size),
        REFERENCE_NEIGHBOR,
        compute_descriptors(other, torch.arange(len(other)), batch_size),
    )
    d = d.sqrt()
    ratio = d[:, 0] / d[:, -1].clamp_min(1e-12)
    return [
        NearDuplicate(i, f"{other_name} #{int(neighbors[i, 0])}", float(d[i, 0]), float(ratio[i]))
        for i in (ratio < max_ratio).nonzero().flatten().tolist()
    ]


def compute_descriptors(images: ImageSet, index: Tensor, batch_size: int) -> Tensor:
    """Return (N, D) descriptors of unit length."""
    return torch.cat(list(iterate_descriptors(images, index, batch_size)))


def iterate_descriptors(images: ImageSet, index: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield the descriptors a batch at a time."""
    batches = index.to(images.labels.device).split(batch_size)
    _, height, width = images.shape
    size = min(height, COMPARISON_SIDE), min(width, COMPARISON_SIDE)
    for pixels, _ in images.iterate_batches(batches):
        x = F.adaptive_avg_pool2d(pixels.float(), size).flatten(1)
        yield F.normalize(x - x.mean(1, keepdim=True))
