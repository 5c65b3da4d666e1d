"""Pictures of one set that are nearly in another too (Barz & Denzler 2020 found 3 % such in CIFAR-10's test set)."""

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

COMPARISON_SIDE = 16  # pixels at most of what is compared
REFERENCE_NEIGHBOR = 10
MAX_COMPARED_IMAGES = 100_000  # pictures of the other set: of more, nobody waits for the answer


@dataclass(frozen=True)
class NearDuplicate:
    """A picture's place on the map, its twin's name, their distance and its share of that to the tenth nearest."""

    map_index: int
    match: str
    distance: float
    distance_ratio: float


def find_near_duplicates(
    shown: ImageSelection, trained: TrainedRun | None, max_ratio: float | None
) -> list[NearDuplicate]:
    """The pictures of a scene that are nearly in the set on the other side as well: training pictures among test
    pictures' nearest, test pictures among others'. None is looked for where `ratio` is None, or without a run."""
    if trained is None or shown.images is None or not max_ratio:
        return []
    side: Split = "train" if shown.split == "test" else "test"
    other = load_dataset(trained.config["dataset"], side).to(shown.images.labels.device)
    name = (
        "trainval" if side == "train" else side
    )  # what is held out to validate with is among them
    return (
        match_near_duplicates(shown.images, shown.indices, other, name, max_ratio, shown.batch_size)
        if len(other) <= MAX_COMPARED_IMAGES
        else []
    )


def match_near_duplicates(
    one: ImageSet, index: Tensor, other: ImageSet, side: str, max_ratio: float, batch_size: int
) -> list[NearDuplicate]:
    """The pictures of `one` at (N,) `index` that have a twin in `other`.

    Pictures are shrunk, their mean taken away and their contrast made equal. Near by itself says little: all ones look
    alike, and all blue skies. A twin is so much nearer than the tenth nearest that its share is below `ratio`.
    """
    if len(other) <= REFERENCE_NEIGHBOR:
        return []
    d, found = find_neighbors(
        compute_descriptors(one, index, batch_size),
        REFERENCE_NEIGHBOR,
        compute_descriptors(other, torch.arange(len(other)), batch_size),
    )
    d = d.sqrt()
    share = d[:, 0] / d[:, -1].clamp_min(1e-12)
    return [
        NearDuplicate(i, f"{side} #{int(found[i, 0])}", float(d[i, 0]), float(share[i]))
        for i in (share < max_ratio).nonzero().flatten().tolist()
    ]


def compute_descriptors(images: ImageSet, index: Tensor, batch_size: int) -> Tensor:
    """(N, D) of unit length."""
    return torch.cat(list(iterate_descriptors(images, index, batch_size)))


def iterate_descriptors(images: ImageSet, index: Tensor, batch_size: int) -> Iterator[Tensor]:
    batches = index.to(images.labels.device).split(batch_size)
    _, height, width = images.shape
    for pixels, _ in images.iterate_batches(batches):
        x = F.adaptive_avg_pool2d(
            pixels.float(), (min(height, COMPARISON_SIDE), min(width, COMPARISON_SIDE))
        ).flatten(1)
        yield F.normalize(x - x.mean(1, keepdim=True))
