"""Features to a map, and the numbers that say whether to believe it."""

import sys
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.device import use_deterministic_algorithms, use_threads
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.schema import call_checked
from cnnlab.projection import PROJECTIONS
from cnnlab.projection.knn import PointSet, count_duplicates, find_neighbors
from cnnlab.projection.pca import principal_components
from cnnlab.projection.procrustes import procrustes
from cnnlab.projection.quality import knn_accuracy, neighbor_overlap, silhouette, trustworthiness
from cnnlab.projection.repulsion import MAX_EXACT_POINTS
from cnnlab.tasks.embed.features import FeatureSet

MAX_RANKED_IMAGES = (
    10_000  # pictures at most that trustworthiness and silhouette are measured of, among all
)
MAX_PAGE_NEIGHBORS = 10  # neighbours of each picture that a page may show
Scores = dict[str, Any]


@dataclass(frozen=True)
class EmbeddingMap:
    """What one network makes of the pictures, `where` in it, and (N, 2) their map; (N, k) which pictures are nearest to
    each in its features; and the numbers that say whether to believe the map."""

    name: str
    feature_set: FeatureSet
    feature_source: str
    coordinates: Tensor
    neighbors: Tensor
    scores: Scores


@dataclass(frozen=True)
class Projection:
    """How features become a map: a projection by its name and keys, and the seed of the noise that it begins with."""

    name: str
    options: dict[str, Any]
    seed: int
    is_quiet: bool

    def __call__(
        self, points: PointSet, initial: Tensor | None = None, *, seed_offset: int = 0
    ) -> tuple[Tensor, Scores]:
        """(N, 2) a map, and what the projection says of it. `begin`: where the points are at first; their principal
        components. `further`: with the noise of a later seed. Raises UsageError for keys that do not fit the points."""
        rng = torch.Generator().manual_seed(self.seed + seed_offset)
        noise = torch.randn(len(points), 2, generator=rng)
        initial = principal_components(points.x, 2)[0] if initial is None else initial
        report = (
            None
            if self.is_quiet or not self.is_stochastic
            else TsneProgress(f"t-SNE, seed {self.seed + seed_offset}")
        )
        try:
            # Of few points further threads would only wait for each other.
            with (
                use_deterministic_algorithms(points.x.device),
                use_threads(1 if len(points) <= MAX_EXACT_POINTS else None),
            ):
                return call_checked(
                    PROJECTIONS[self.name], self.options, self.name, points, initial, noise, report
                )
        finally:
            if report:
                report.progress.end()

    @property
    def is_stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.name != "pca"


def project_all(
    networks: dict[str, tuple[FeatureSet, str]], projector: Projection, k: int, seeds: int
) -> list[EmbeddingMap]:
    """A map for each network, the second begun where the first one's ended and then laid over it; scores of each, and
    how steady the first one is over further seeds."""
    maps: list[EmbeddingMap] = []
    for name, (seen, where) in networks.items():
        points = PointSet(seen.features)
        begin = maps[0].coordinates if maps else principal_components(points.x, 2)[0]
        y, numbers = projector(points, begin)
        k = min(k, (len(points) - 1) // 2)
        on_map = find_neighbors(y, k)[1]
        numbers = {
            "of": where,
            "dimensions": seen.features.shape[1],
            "repeated": count_duplicates(seen.features),
        } | numbers
        numbers |= score_map(points, y, on_map, seen.labels, projector.seed)
        if maps:
            y, numbers["residual"] = procrustes(maps[0].coordinates, y)
            numbers["features_shared"] = neighbor_overlap(
                maps[0].neighbors[:, :k], points.kneighbors(k)[1]
            )
            numbers["map_shared"] = neighbor_overlap(
                find_neighbors(maps[0].coordinates, k)[1], on_map
            )
        elif projector.is_stochastic:
            numbers["steadiness"] = measure_seed_stability(points, begin, on_map, projector, seeds)
        maps.append(
            EmbeddingMap(
                name,
                seen,
                where,
                y,
                points.kneighbors(min(MAX_PAGE_NEIGHBORS, len(points) - 1))[1],
                numbers,
            )
        )
    return maps


class TsneProgress:
    """A live line on how far t-SNE has come."""

    def __init__(self, what: str) -> None:
        self.label, self.start_time, self.progress = what, monotonic(), Progress(sys.stdout)
        self.progress.show(f"{what}: nearest neighbours", keep=False)

    def __call__(self, done: int, total: int, kl: float) -> None:
        spent = monotonic() - self.start_time
        left = (
            f"{format_duration(spent / done * (total - done))} left"
            if done < total
            else f"{spent:.1f} s"
        )
        self.progress.show(
            f"{self.label}: step {done} of {total}  KL {kl:.3f}  {left}", keep=done == total
        )


def score_map(points: PointSet, y: Tensor, on_map: Tensor, labels: Tensor, seed: int) -> Scores:
    """What of the points' nearest neighbours, and of their classes, is kept on their map, where (N, k) `on_map` are
    nearest. Class scores are of the pictures whose class is known, and None where they say nothing: no class, or but
    one."""
    n, k = on_map.shape
    rows = (
        torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:MAX_RANKED_IMAGES]
        .sort()
        .values.to(y.device)
    )
    near = points.kneighbors(k)[1]
    return {
        "neighbours": k,
        "features": score_classes(points.x, near, labels),
        "map": score_classes(y, on_map, labels),
        "trustworthiness": trustworthiness(points.x, on_map, rows) if 2 * k < n else None,
        "neighbours_kept": neighbor_overlap(near, on_map),
        "ranked": len(rows),
    }


def score_classes(x: Tensor, near: Tensor, labels: Tensor) -> dict[str, float | None]:
    """kNN accuracy and silhouette of the pictures whose class is known."""
    labels = labels.to(x.device)
    named = labels >= 0
    if not bool(named.all()):
        x, labels, k = x[named], labels[named], near.shape[1]
        near = find_neighbors(x, k)[1] if len(x) > k else near[:0]
    if not len(near):
        return {"knn_accuracy": None, "silhouette": None}
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[
        :MAX_RANKED_IMAGES
    ].to(x.device)
    several = len(labels.unique()) > 1
    return {
        "knn_accuracy": knn_accuracy(near, labels),
        "silhouette": silhouette(x, labels, rows) if several else None,
    }


def measure_seed_stability(
    points: PointSet, begin: Tensor, on_map: Tensor, projector: Projection, seeds: int
) -> list[float]:
    """For each of further seeds the mean share of a picture's (N, k) neighbours on the map that are its neighbours on
    that seed's map, begun at the same places, as well."""
    others = (projector(points, begin, seed_offset=further)[0] for further in range(1, seeds + 1))
    return [neighbor_overlap(on_map, find_neighbors(other, on_map.shape[1])[1]) for other in others]
