"""Pictures of one set that are nearly in another too (Barz & Denzler 2020 found 3 % such in CIFAR-10's test set)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.data.build import load_pictures
from cnnlab.data.dataset import PictureSet, Split
from cnnlab.projection.knn import nearest
from cnnlab.tasks.embed.images import Scene
from cnnlab.tasks.trained_run import Trained

SIDE = 16  # pixels at most of what is compared
TENTH = 10
MOST = 100_000  # pictures of the other set: of more, nobody waits for the answer


@dataclass(frozen=True)
class Twin:
    """A picture's place on the map, its twin's name, their distance and its share of that to the tenth nearest."""

    place: int
    name: str
    distance: float
    share: float


def doubles(shown: Scene, trained: Trained | None, ratio: float | None) -> list[Twin]:
    """The pictures of a scene that are nearly in the set on the other side as well: training pictures among test
    pictures' nearest, test pictures among others'. None is looked for where `ratio` is None, or without a run."""
    if trained is None or shown.pictures is None or not ratio:
        return []
    side: Split = "train" if shown.split == "test" else "test"
    other = load_pictures(trained.config["dataset"], side).to(shown.pictures.labels.device)
    name = "trainval" if side == "train" else side  # what is held out to validate with is among them
    return twins(shown.pictures, shown.index, other, name, ratio, shown.at_once) if len(other) <= MOST else []


def twins(one: PictureSet, index: Tensor, other: PictureSet, side: str, ratio: float, at_once: int) -> list[Twin]:
    """The pictures of `one` at (N,) `index` that have a twin in `other`.

    Pictures are shrunk, their mean taken away and their contrast made equal. Near by itself says little: all ones look
    alike, and all blue skies. A twin is so much nearer than the tenth nearest that its share is below `ratio`.
    """
    if len(other) <= TENTH:
        return []
    d, found = nearest(looks(one, index, at_once), TENTH, looks(other, torch.arange(len(other)), at_once))
    d = d.sqrt()
    share = d[:, 0] / d[:, -1].clamp_min(1e-12)
    return [
        Twin(i, f"{side} #{int(found[i, 0])}", float(d[i, 0]), float(share[i]))
        for i in (share < ratio).nonzero().flatten().tolist()
    ]


def looks(pictures: PictureSet, index: Tensor, at_once: int) -> Tensor:
    """(N, D) of unit length."""
    return torch.cat(list(look(pictures, index, at_once)))


def look(pictures: PictureSet, index: Tensor, at_once: int) -> Iterator[Tensor]:
    batches = index.to(pictures.labels.device).split(at_once)
    _, height, width = pictures.shape
    for pixels, _ in pictures.stream(batches):
        x = F.adaptive_avg_pool2d(pixels.float(), (min(height, SIDE), min(width, SIDE))).flatten(1)
        yield F.normalize(x - x.mean(1, keepdim=True))
