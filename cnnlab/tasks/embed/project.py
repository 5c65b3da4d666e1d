"""Features to a map, and the numbers that say whether to believe it."""

import sys
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.device import repeatable, threads
from cnnlab.core.progress import Progress, clock
from cnnlab.core.schema import call
from cnnlab.projection import PROJECTIONS
from cnnlab.projection.knn import Points, nearest, repeated
from cnnlab.projection.pca import components
from cnnlab.projection.procrustes import procrustes
from cnnlab.projection.quality import knn_accuracy, overlap, silhouette, trustworthiness
from cnnlab.projection.repulsion import FEW
from cnnlab.tasks.embed.features import Embedded

RANKED = 10_000  # pictures at most that trustworthiness and silhouette are measured of, among all
NEAR = 10  # neighbours of each picture that a page may show
Scores = dict[str, Any]


@dataclass(frozen=True)
class Map:
    """What one network makes of the pictures, `where` in it, and (N, 2) their map; (N, k) which pictures are nearest to
    each in its features; and the numbers that say whether to believe the map."""

    name: str
    seen: Embedded
    where: str
    y: Tensor
    near: Tensor
    numbers: Scores


@dataclass(frozen=True)
class Projector:
    """How features become a map: a projection by its name and keys, and the seed of the noise that it begins with."""

    name: str
    keys: dict[str, Any]
    seed: int
    quiet: bool

    def __call__(self, points: Points, begin: Tensor | None = None, *, further: int = 0) -> tuple[Tensor, Scores]:
        """(N, 2) a map, and what the projection says of it. `begin`: where the points are at first; their principal
        components. `further`: with the noise of a later seed. Raises UsageError for keys that do not fit the points."""
        rng = torch.Generator().manual_seed(self.seed + further)
        noise = torch.randn(len(points), 2, generator=rng)
        begin = components(points.x, 2)[0] if begin is None else begin
        report = None if self.quiet or not self.chancy else Steps(f"t-SNE, seed {self.seed + further}")
        try:
            # Of few points further threads would only wait for each other.
            with repeatable(points.x.device), threads(1 if len(points) <= FEW else None):
                return call(PROJECTIONS[self.name], self.keys, self.name, points, begin, noise, report)
        finally:
            if report:
                report.progress.end()

    @property
    def chancy(self) -> bool:
        """Whether the seed matters."""
        return self.name != "pca"


def drawn(networks: dict[str, tuple[Embedded, str]], projector: Projector, k: int, seeds: int) -> list[Map]:
    """A map for each network, the second begun where the first one's ended and then laid over it; scores of each, and
    how steady the first one is over further seeds."""
    maps: list[Map] = []
    for name, (seen, where) in networks.items():
        points = Points(seen.x)
        begin = maps[0].y if maps else components(points.x, 2)[0]
        y, numbers = projector(points, begin)
        k = min(k, (len(points) - 1) // 2)
        on_map = nearest(y, k)[1]
        numbers = {"of": where, "dimensions": seen.x.shape[1], "repeated": repeated(seen.x)} | numbers
        numbers |= scored(points, y, on_map, seen.labels, projector.seed)
        if maps:
            y, numbers["residual"] = procrustes(maps[0].y, y)
            numbers["features_shared"] = overlap(maps[0].near[:, :k], points.near(k)[1])
            numbers["map_shared"] = overlap(nearest(maps[0].y, k)[1], on_map)
        elif projector.chancy:
            numbers["steadiness"] = steadiness(points, begin, on_map, projector, seeds)
        maps.append(Map(name, seen, where, y, points.near(min(NEAR, len(points) - 1))[1], numbers))
    return maps


class Steps:
    """A live line on how far t-SNE has come."""

    def __init__(self, what: str) -> None:
        self.what, self.began, self.progress = what, monotonic(), Progress(sys.stdout)
        self.progress.show(f"{what}: nearest neighbours", keep=False)

    def __call__(self, done: int, total: int, kl: float) -> None:
        spent = monotonic() - self.began
        left = f"{clock(spent / done * (total - done))} left" if done < total else f"{spent:.1f} s"
        self.progress.show(f"{self.what}: step {done} of {total}  KL {kl:.3f}  {left}", keep=done == total)


def scored(points: Points, y: Tensor, on_map: Tensor, labels: Tensor, seed: int) -> Scores:
    """What of the points' nearest neighbours, and of their classes, is kept on their map, where (N, k) `on_map` are
    nearest. Class scores are of the pictures whose class is known, and None where they say nothing: no class, or but
    one."""
    n, k = on_map.shape
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:RANKED].sort().values.to(y.device)
    near = points.near(k)[1]
    return {
        "neighbours": k,
        "features": of_classes(points.x, near, labels),
        "map": of_classes(y, on_map, labels),
        "trustworthiness": trustworthiness(points.x, on_map, rows) if 2 * k < n else None,
        "neighbours_kept": overlap(near, on_map),
        "ranked": len(rows),
    }


def of_classes(x: Tensor, near: Tensor, labels: Tensor) -> dict[str, float | None]:
    """kNN accuracy and silhouette of the pictures whose class is known."""
    labels = labels.to(x.device)
    named = labels >= 0
    if not bool(named.all()):
        x, labels, k = x[named], labels[named], near.shape[1]
        near = nearest(x, k)[1] if len(x) > k else near[:0]
    if not len(near):
        return {"knn_accuracy": None, "silhouette": None}
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:RANKED].to(x.device)
    several = len(labels.unique()) > 1
    return {"knn_accuracy": knn_accuracy(near, labels), "silhouette": silhouette(x, labels, rows) if several else None}


def steadiness(points: Points, begin: Tensor, on_map: Tensor, projector: Projector, seeds: int) -> list[float]:
    """For each of further seeds the mean share of a picture's (N, k) neighbours on the map that are its neighbours on
    that seed's map, begun at the same places, as well."""
    others = (projector(points, begin, further=further)[0] for further in range(1, seeds + 1))
    return [overlap(on_map, nearest(other, on_map.shape[1])[1]) for other in others]
