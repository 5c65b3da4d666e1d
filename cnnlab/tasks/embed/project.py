"""Project features to maps, and measure the maps' quality."""

import sys
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.device import use_deterministic_algorithms, use_threads
from cnnlab.core.errors import UsageError
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.schema import call_checked
from cnnlab.projection.knn import PointSet, count_duplicates, find_neighbors
from cnnlab.projection.pca import principal_components
from cnnlab.projection.procrustes import procrustes
from cnnlab.projection.quality import knn_accuracy, neighbor_overlap, silhouette, trustworthiness
from cnnlab.projection.registry import PROJECTIONS
from cnnlab.projection.repulsion import MAX_EXACT_POINTS
from cnnlab.projection.tsne import compute_max_perplexity
from cnnlab.tasks.embed.features import FeatureSet

MIN_MAPPED_IMAGES = 5
MAX_RANKED_IMAGES = 10_000  # for which trustworthiness and silhouette are measured, among all
MAX_PAGE_NEIGHBORS = 10  # of each image, on the page
Scores = dict[str, Any]


@dataclass(frozen=True)
class EmbeddingMap:
    """A network's features and their map.

    `feature_source`: which features, in words; `coordinates`: (N, 2); `neighbors`: (N, k) the
    nearest images in feature space.
    """

    name: str
    feature_set: FeatureSet
    feature_source: str
    coordinates: Tensor
    neighbors: Tensor
    scores: Scores


@dataclass(frozen=True)
class Projection:
    """A projection by name with its options, and the seed of its initial noise."""

    name: str
    options: dict[str, Any]
    seed: int
    is_quiet: bool

    def __call__(
        self, points: PointSet, initial: Tensor | None = None, *, seed_offset: int = 0
    ) -> tuple[Tensor, Scores]:
        """Return an (N, 2) map and the projection's own scores.

        `initial`: initial map; None: the principal components. `seed_offset` selects other noise.
        Raises UsageError for options that do not suit the points.
        """
        rng = torch.Generator().manual_seed(self.seed + seed_offset)
        noise = torch.randn(len(points), 2, generator=rng)
        initial = principal_components(points.x, 2)[0] if initial is None else initial
        has_progress = self.is_stochastic and not self.is_quiet
        callback = TsneProgress(f"t-SNE, seed {self.seed + seed_offset}") if has_progress else None
        # For few points more threads would only wait for each other.
        threads = use_threads(1 if len(points) <= MAX_EXACT_POINTS else None)
        builder = PROJECTIONS[self.name]
        try:
            with use_deterministic_algorithms(points.x.device), threads:
                return call_checked(
                    builder, self.options, self.name, points, initial, noise, callback
                )
        finally:
            if callback:
                callback.progress.end()

    def fit_to(self, n: int) -> tuple["Projection", str]:
        """Return a projection that suits n images, and what it changes, in words; empty if nothing.

        Raises UsageError where there is no map of n images, or none with these options.
        """
        if n < MIN_MAPPED_IMAGES:
            raise UsageError(f"a map needs at least {MIN_MAPPED_IMAGES} images, not {n}")
        perplexity = self.options.get("perplexity")
        if not isinstance(perplexity, (int, float)):
            return self, ""
        if not perplexity >= 1:
            raise UsageError(f"{self.name}.perplexity must be at least 1, not {perplexity:g}")
        maximum = compute_max_perplexity(n)
        if perplexity <= maximum:
            return self, ""
        change = f"perplexity {maximum} instead of {perplexity:g}: the maximum for {n:,} images"
        return replace(self, options=self.options | {"perplexity": maximum}), change

    @property
    def is_stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.name != "pca"


def project_all(
    networks: dict[str, tuple[FeatureSet, str]], projection: Projection, k: int, seeds: int
) -> list[EmbeddingMap]:
    """Return a map of each network's features, with scores.

    The second map starts from the first one's result and is aligned with it. The seed stability
    of the first one is measured with `seeds` further maps.
    """
    maps: list[EmbeddingMap] = []
    for name, (features, source) in networks.items():
        points = PointSet(features.features)
        k = min(k, (len(points) - 1) // 2)
        initial = maps[0].coordinates if maps else principal_components(points.x, 2)[0]
        y, own_scores = projection(points, initial)
        map_neighbors = find_neighbors(y, k)[1]
        scores = {
            "feature_source": source,
            "dimensions": points.x.shape[1],
            "duplicate_features": count_duplicates(points.x),
            **own_scores,
            **score_map(points, y, map_neighbors, features.labels, projection.seed),
        }
        if maps:
            y, comparison = align_maps(maps[0], points, y, map_neighbors)
            scores |= comparison
        elif projection.is_stochastic:
            scores["seed_stability"] = measure_seed_stability(
                points, initial, map_neighbors, projection, seeds
            )
        neighbors = points.kneighbors(min(MAX_PAGE_NEIGHBORS, len(points) - 1))[1]
        maps.append(EmbeddingMap(name, features, source, y, neighbors, scores))
    return maps


def align_maps(
    first: EmbeddingMap, points: PointSet, y: Tensor, map_neighbors: Tensor
) -> tuple[Tensor, Scores]:
    """Return an (N, 2) map aligned with the first one, and how much both have in common."""
    k = map_neighbors.shape[1]
    first_neighbors = find_neighbors(first.coordinates, k)[1]
    aligned, residual = procrustes(first.coordinates, y)
    return aligned, {
        "residual": residual,
        "feature_neighbor_overlap": neighbor_overlap(
            first.neighbors[:, :k], points.kneighbors(k)[1]
        ),
        "map_neighbor_overlap": neighbor_overlap(first_neighbors, map_neighbors),
    }


class TsneProgress:
    """A live line with t-SNE's step, KL divergence and remaining time."""

    def __init__(self, label: str) -> None:
        self.label, self.start_time, self.progress = label, monotonic(), Progress(sys.stdout)
        self.progress.show(f"{label}: nearest neighbors", keep=False)

    def __call__(self, step: int, total: int, kl: float) -> None:
        elapsed, is_last = monotonic() - self.start_time, step == total
        remaining = f"{format_duration(elapsed / step * (total - step))} left"
        time = f"{elapsed:.1f} s" if is_last else remaining
        self.progress.show(
            f"{self.label}: step {step} of {total}  KL {kl:.3f}  {time}", keep=is_last
        )


def score_map(
    points: PointSet, y: Tensor, map_neighbors: Tensor, labels: Tensor, seed: int
) -> Scores:
    """Return the scores of an (N, 2) map with (N, k) nearest neighbors.

    Class scores are those of the labeled images; None where there are none, or only one class.
    """
    n, k = map_neighbors.shape
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randperm(n, generator=rng)[:MAX_RANKED_IMAGES].sort().values.to(y.device)
    neighbors = points.kneighbors(k)[1]
    return {
        "neighbors": k,
        "features": score_classes(points.x, neighbors, labels),
        "map": score_classes(y, map_neighbors, labels),
        "trustworthiness": trustworthiness(points.x, map_neighbors, rows) if 2 * k < n else None,
        "neighborhood_preservation": neighbor_overlap(neighbors, map_neighbors),
        "ranked_images": len(rows),
    }


def score_classes(x: Tensor, neighbors: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return the kNN accuracy and silhouette of the labeled images."""
    labels, k = labels.to(x.device), neighbors.shape[1]
    is_labeled = labels >= 0
    if not bool(is_labeled.all()):
        x, labels = x[is_labeled], labels[is_labeled]
        neighbors = find_neighbors(x, k)[1] if len(x) > k else neighbors[:0]
    if not len(neighbors):
        return {"knn_accuracy": None, "silhouette": None}
    rng = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(x), generator=rng)[:MAX_RANKED_IMAGES].to(x.device)
    has_classes = len(labels.unique()) > 1
    return {
        "knn_accuracy": knn_accuracy(neighbors, labels),
        "silhouette": silhouette(x, labels, rows) if has_classes else None,
    }


def measure_seed_stability(
    points: PointSet, initial: Tensor, map_neighbors: Tensor, projection: Projection, seeds: int
) -> list[float]:
    """Return, for each further seed, the mean overlap of its map's neighbors with (N, k) ones."""
    k = map_neighbors.shape[1]
    others = (projection(points, initial, seed_offset=i)[0] for i in range(1, seeds + 1))
    return [neighbor_overlap(map_neighbors, find_neighbors(y, k)[1]) for y in others]
