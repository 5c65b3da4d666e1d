import math
from pathlib import Path

import pytest
import torch
from sklearn.manifold import TSNE
from torch import Tensor

from cnnlab.data.sources import digits, mnist
from cnnlab.projection.knn import PointSet, find_neighbors
from cnnlab.projection.pca import principal_components
from cnnlab.projection.quality import knn_accuracy, trustworthiness
from cnnlab.projection.registry import PROJECTIONS
from cnnlab.projection.tsne import (
    REPORT_INTERVAL,
    DeltaBarDelta,
    compute_affinities,
    kl_divergence,
    optimize_map,
    scale_initial_map,
    tsne,
)
from tests.projection.test_affinities import to_dense

RNG = torch.Generator().manual_seed(0)
X = torch.randn(120, 6, generator=RNG, dtype=torch.float64)
NOISE = torch.randn(120, 2, generator=RNG, dtype=torch.float64)
P = compute_affinities(PointSet(X), 12)
DIGITS = digits("test", root=None)
PIXELS = DIGITS.images.flatten(1).float() / 255
SETTINGS = {
    "perplexity": 20,
    "early_steps": 150,
    "early_exaggeration": 12.0,
    "steps": 350,
    "lr": None,
}


def compute_map(x: Tensor, **settings: object) -> tuple[Tensor, dict[str, float]]:
    noise = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(0))
    return tsne(PointSet(x), principal_components(x, 2)[0], noise, None, **(SETTINGS | settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def digits_map() -> tuple[Tensor, dict[str, float]]:
    return compute_map(PIXELS)


def test_knn_accuracy_on_the_map_is_near_that_of_the_pixels(
    digits_map: tuple[Tensor, dict],
) -> None:
    y, _ = digits_map
    before = knn_accuracy(find_neighbors(principal_components(PIXELS, 2)[0], 5)[1], DIGITS.labels)
    actual = knn_accuracy(find_neighbors(y, 5)[1], DIGITS.labels)
    assert (
        before < 0.65
        and actual > 0.93
        and actual > knn_accuracy(find_neighbors(PIXELS, 5)[1], DIGITS.labels) - 0.02
    )
    assert y.dtype == torch.float32 and y.mean(0).abs().max() < 1e-3


def test_divergence_is_close_to_scikit_learns(digits_map: tuple[Tensor, dict]) -> None:
    y, scores = digits_map
    P = compute_affinities(PointSet(PIXELS), 20)
    theirs = TSNE(perplexity=20, max_iter=500, method="exact", random_state=0).fit_transform(
        PIXELS.double().numpy()
    )
    assert scores["kl"] == pytest.approx(kl_divergence(P, y), rel=1e-5)
    assert scores["kl"] < 1.02 * kl_divergence(P, torch.from_numpy(theirs).double())


def test_map_is_reproducible_by_seed(
    digits_map: tuple[Tensor, dict],
) -> None:
    steps = {"early_steps": 20, "steps": 30}
    assert torch.equal(compute_map(PIXELS, **steps)[0], compute_map(PIXELS, **steps)[0])
    noise = torch.randn(360, 2, generator=torch.Generator().manual_seed(1))
    other, _ = tsne(
        PointSet(PIXELS), principal_components(PIXELS, 2)[0], noise, None, **(SETTINGS | steps)
    )
    assert not torch.equal(other, compute_map(PIXELS, **steps)[0])


def test_optimization_is_permutation_equivariant() -> None:
    """For as many steps as rounding does not outgrow."""
    order = torch.randperm(120, generator=RNG)
    settings = {**SETTINGS, "perplexity": 12, "early_steps": 20, "steps": 20}
    y, _ = tsne(PointSet(X), principal_components(X, 2)[0], NOISE, None, **settings)
    permuted, _ = tsne(
        PointSet(X[order]), principal_components(X[order], 2)[0], NOISE[order], None, **settings
    )
    assert (permuted - y[order]).abs().max() < 1e-6 * y.abs().max() and y.dtype == torch.float64


def test_callback_receives_steps_and_divergence() -> None:
    calls: list[tuple[int, int, float]] = []
    settings = {**SETTINGS, "perplexity": 12, "early_steps": 60, "steps": 75}
    _, scores = tsne(
        PointSet(X),
        principal_components(X, 2)[0],
        NOISE,
        lambda *arguments: calls.append(arguments),
        **settings,
    )
    assert [(done, total) for done, total, _ in calls] == [
        (REPORT_INTERVAL, 135),
        (2 * REPORT_INTERVAL, 135),
        (135, 135),
    ]
    assert all(math.isfinite(kl) for *_, kl in calls) and calls[0][2] > calls[-1][
        2
    ] == pytest.approx(scores["kl"])


def test_phases_use_their_learning_rates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates: list[float] = []
    step = DeltaBarDelta.step
    monkeypatch.setattr(
        DeltaBarDelta, "step", lambda self, slope, lr: rates.append(lr) or step(self, slope, lr)
    )
    settings = {**SETTINGS, "perplexity": 12, "early_steps": 2, "steps": 1}
    for lr in (None, 7.0):
        tsne(PointSet(X), principal_components(X, 2)[0], NOISE, None, **(settings | {"lr": lr}))
    assert rates == [10, 10, 120, 7, 7, 7]


def test_zero_steps_return_the_initial_map() -> None:
    expected = scale_initial_map(principal_components(X, 2)[0], NOISE)
    y, scores = tsne(
        PointSet(X),
        principal_components(X, 2)[0],
        NOISE,
        None,
        **(SETTINGS | {"early_steps": 0, "steps": 0}),
    )
    assert torch.equal(y, expected) and scores["kl"] > 0
    assert torch.equal(optimize_map(P, expected, []), expected)


def test_equal_points_are_close_but_distinct() -> None:
    x = torch.cat([X[:40], X[:40]]).float()
    y, scores = tsne(
        PointSet(x),
        principal_components(x, 2)[0],
        NOISE[:80],
        None,
        **(SETTINGS | {"perplexity": 5, "steps": 100}),
    )
    distances = (y[:40] - y[40:]).norm(dim=1)
    assert distances.min() > 0 and math.isfinite(scores["kl"])
    assert distances.median() < (y - y.roll(1, 0)).norm(dim=1).median() / 5  # not far, though
    equal_points = torch.ones(30, 4)
    y, scores = tsne(
        PointSet(equal_points),
        principal_components(equal_points, 2)[0],
        NOISE[:30],
        None,
        **(SETTINGS | {"perplexity": 5}),
    )
    assert y.isfinite().all() and math.isfinite(scores["kl"]) and len(y.unique(dim=0)) == 30


def test_affinities_use_three_times_the_perplexity_neighbors() -> None:
    affinities = compute_affinities(PointSet(X), 12)
    mutual = torch.zeros(120, 120, dtype=torch.bool)
    mutual.scatter_(1, find_neighbors(X, 37)[1], True)
    assert torch.equal(to_dense(affinities) > 0, mutual | mutual.T)
    assert float(affinities.values.sum()) == pytest.approx(1)


@pytest.mark.parametrize(("n", "maximum"), [(5, 1), (10, 2), (11, 3), (120, 39)])
def test_maximum_perplexity_is_accepted_and_more_raises(n: int, maximum: int) -> None:
    assert compute_affinities(PointSet(X[:n]), maximum).values.isfinite().all()
    for perplexity in (maximum + 0.5, 0.5, math.nan):
        with pytest.raises(
            ValueError,
            match=f"below a third of the {n} images, not {perplexity:g}; the maximum is {maximum}",
        ):
            compute_affinities(PointSet(X[:n]), perplexity)


def test_large_counts_are_formatted_with_separators() -> None:
    with pytest.raises(ValueError, match="70,000 images, not 30,000; the maximum is 23,332"):
        compute_affinities(PointSet(torch.zeros(1, 1).expand(70_000, 1)), 30_000)


@pytest.mark.parametrize(
    "wrong",
    [{"early_steps": -1}, {"steps": -1}, {"early_exaggeration": 0.5}, {"lr": 0.0}, {"lr": -1.0}],
)
def test_settings_out_of_range_raise_value_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        compute_map(PIXELS, **wrong)


def test_map_that_is_not_finite_raises_value_error() -> None:
    with pytest.raises(ValueError, match="not finite: use a lower lr"):
        compute_map(PIXELS, lr=1e39, steps=3)


def test_all_projections_have_one_signature() -> None:
    for project in PROJECTIONS.values():
        settings = SETTINGS | {"perplexity": 12, "steps": 1} if project is tsne else {}
        y, scores = project(PointSet(X), principal_components(X, 2)[0], NOISE, None, **settings)
        assert y.shape == (120, 2) and all(isinstance(score, float) for score in scores.values())


@pytest.mark.slow
@pytest.mark.data
def test_scores_do_not_depend_on_the_order_of_points(real_data: Path) -> None:
    """Five orders of MNIST's 10,000 test images, through the mesh."""
    dataset = mnist("test", root=str(real_data))
    x = dataset.images.flatten(1).float() / 255
    accuracies, divergences, trusts = [], [], []
    for seed in range(5):
        order = torch.randperm(10_000, generator=torch.Generator().manual_seed(seed))
        y, scores = compute_map(x[order], perplexity=30, early_steps=250, steps=500)
        neighbors = find_neighbors(y, 10)[1]
        accuracies.append(knn_accuracy(neighbors, dataset.labels[order]))
        trusts.append(trustworthiness(x[order], neighbors))
        divergences.append(scores["kl"])
    assert max(accuracies) - min(accuracies) < 0.005 and min(accuracies) > 0.94
    assert max(trusts) - min(trusts) < 0.005 and min(trusts) > 0.97
    assert max(divergences) < 1.02 * min(divergences)
