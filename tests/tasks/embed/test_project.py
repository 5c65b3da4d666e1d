import io

import pytest
import torch
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from cnnlab.core.errors import UsageError
from cnnlab.data.sources import digits
from cnnlab.projection.knn import PointSet, find_neighbors
from cnnlab.tasks.embed import project
from cnnlab.tasks.embed.features import FeatureSet
from cnnlab.tasks.embed.project import (
    Projection,
    TsneProgress,
    project_all,
    score_classes,
    score_map,
)

REAL = digits("test", root=None)
X, LABELS = REAL.images[:120].flatten(1) / 255, REAL.labels[:120]
KEYS = {"perplexity": 10, "early_steps": 50, "early_exaggeration": 12, "steps": 100, "lr": None}


def make_features(x: torch.Tensor) -> FeatureSet:
    n = len(x)
    return FeatureSet(
        x,
        REAL.images[:n].permute(0, 2, 3, 1).numpy(),
        LABELS[:n],
        [str(i) for i in range(n)],
        torch.arange(n),
        None,
        None,
    )


def test_seed_determines_the_map() -> None:
    project = Projection("tsne", KEYS, 3, is_quiet=True)
    one, again, other = (
        project(PointSet(X))[0],
        project(PointSet(X))[0],
        project(PointSet(X), seed_offset=1)[0],
    )
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(other, Projection("tsne", KEYS, 4, is_quiet=True)(PointSet(X))[0])
    with pytest.raises(UsageError, match=r"tsne: perplexity must be .* the maximum is 39"):
        Projection("tsne", KEYS | {"perplexity": 50}, 0, is_quiet=True)(PointSet(X))


def test_class_scores_use_labeled_images() -> None:
    y, _ = Projection("pca", {}, 0, is_quiet=True)(PointSet(X))
    scores = score_map(PointSet(X), y, find_neighbors(y, 5)[1], LABELS, 0)
    assert scores["trustworthiness"] == pytest.approx(
        sklearn_trustworthiness(X, y, n_neighbors=5), abs=1e-6
    )
    some = LABELS.clone()
    some[::2] = -1
    near = PointSet(X).kneighbors(5)[1]
    half = X[1::2]
    assert score_classes(X, near, some) == score_classes(
        half, PointSet(half).kneighbors(5)[1], LABELS[1::2]
    )
    assert score_classes(X, near, torch.full_like(some, -1)) == {
        "knn_accuracy": None,
        "silhouette": None,
    }
    assert score_classes(X, near, torch.zeros_like(some)) == {
        "knn_accuracy": 1.0,
        "silhouette": None,
    }


def test_second_map_starts_from_the_first_and_is_aligned() -> None:
    networks = {
        "one": (make_features(X), "here"),
        "other": (make_features(X @ torch.randn(64, 64)), "there"),
    }
    first, second = project_all(networks, Projection("tsne", KEYS, 0, is_quiet=True), 5, 1)
    assert len(first.scores["seed_stability"]) == 1 and 0 < first.scores["seed_stability"][0] <= 1
    assert 0 <= second.scores["residual"] < 1 and 0 < second.scores["map_neighbor_overlap"] < 1
    alone = project_all(
        {"other": networks["other"]}, Projection("tsne", KEYS, 0, is_quiet=True), 5, 0
    )[0]
    assert (
        not torch.allclose(alone.coordinates, second.coordinates)
        and alone.scores["seed_stability"] == []
    )
    twice = project_all(
        {"one": networks["one"], "again": networks["one"]},
        Projection("pca", {}, 0, is_quiet=True),
        5,
        1,
    )
    assert (
        twice[1].scores["residual"] == pytest.approx(0, abs=1e-6)
        and "seed_stability" not in twice[0].scores
    )
    torch.testing.assert_close(twice[0].coordinates, twice[1].coordinates)


def test_few_points_have_fewer_neighbors() -> None:
    (one,) = project_all(
        {"few": (make_features(X[:5]), "here")}, Projection("pca", {}, 0, is_quiet=True), 10, 1
    )
    assert one.scores["neighbors"] == 2 and one.neighbors.shape == (5, 4)


def test_progress_is_one_line_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.sys, "stdout", out := io.StringIO())
    steps = TsneProgress("t-SNE")
    steps(50, 100, 1.5)
    steps(100, 100, 1.25)
    assert (
        out.getvalue().startswith("t-SNE: step 100 of 100  KL 1.250")
        and out.getvalue().count("\n") == 1
    )
