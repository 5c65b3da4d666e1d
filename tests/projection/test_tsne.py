import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, _t_sne
from torch import Tensor

from cnnlab.data.sources import digits, mnist
from cnnlab.projection.affinities import Affinities
from cnnlab.projection.knn import PointSet, find_neighbors
from cnnlab.projection.pca import principal_components
from cnnlab.projection.quality import knn_accuracy, trustworthiness
from cnnlab.projection.registry import PROJECTIONS
from cnnlab.projection.repulsion import MAX_EXACT_POINTS
from cnnlab.projection.tsne import (
    MAX_MOVE,
    REPORT_INTERVAL,
    DeltaBarDelta,
    attractive_forces,
    compute_affinities,
    kl_divergence,
    kl_gradient,
    optimize_map,
    scale_initial_map,
    tsne,
)

RNG = torch.Generator().manual_seed(0)
X = torch.randn(120, 6, generator=RNG, dtype=torch.float64)
Y = 3 * torch.randn(120, 2, generator=RNG, dtype=torch.float64)
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


def dense(P: Affinities) -> Tensor:
    made = torch.zeros(len(P), len(P), dtype=P.values.dtype)
    made[P.row_indices.long(), P.col_indices.long()] = P.values
    return made


def compute_map(x: Tensor, **settings: object) -> tuple[Tensor, dict[str, float]]:
    noise = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(0))
    return tsne(PointSet(x), principal_components(x, 2)[0], noise, None, **(SETTINGS | settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def digits_map() -> tuple[Tensor, dict[str, float]]:
    return compute_map(PIXELS)


def test_initial_map_matches_scikit_learn() -> None:
    theirs = PCA(2, svd_solver="full").fit_transform(X.numpy())
    expected = torch.from_numpy(theirs / theirs[:, 0].std() * 1e-4)
    actual = scale_initial_map(principal_components(X, 2)[0], torch.zeros(120, 2))
    signs = (actual * expected).sum(0).sign()
    assert (actual * signs - expected).abs().max() < 1e-6 * 1e-4
    assert actual[:, 0].std(correction=0) == pytest.approx(1e-4)


def test_initial_noise_is_a_hundredth_of_the_initial_std() -> None:
    y = principal_components(X, 2)[0]
    assert torch.allclose(
        scale_initial_map(y, NOISE) - scale_initial_map(y, 0 * NOISE), NOISE * 1e-6
    )
    assert scale_initial_map(y.float(), NOISE).dtype == torch.float32


def test_initial_map_may_have_any_scale_and_layout() -> None:
    y = principal_components(X, 2)[0]
    assert torch.allclose(scale_initial_map(1000 * y, NOISE), scale_initial_map(y, NOISE))
    by_columns = scale_initial_map(y.T.contiguous().T, 0 * NOISE)
    assert attractive_forces(P, by_columns).isfinite().all()
    assert torch.allclose(
        scale_initial_map(torch.zeros(120, 2), NOISE), (NOISE * 1e-6).float(), atol=0
    )


def test_initial_map_is_permutation_equivariant() -> None:
    order = torch.randperm(120, generator=RNG)
    begun = scale_initial_map(principal_components(X, 2)[0], NOISE)
    assert (
        scale_initial_map(principal_components(X[order], 2)[0], NOISE[order]) - begun[order]
    ).abs().max() < 1e-10 * 1e-4


@pytest.mark.parametrize("scale", [1, 1e-4, 30])
def test_gradient_and_divergence_match_scikit_learn(scale: float) -> None:
    y = Y * scale
    upper = (
        dense(P).numpy()[np.triu_indices(120, 1)] * 2
    )  # its P sums to one over the pairs i < j, twice
    kl, slope = _t_sne._kl_divergence(y.numpy().ravel(), upper / 2, 1.0, 120, 2)
    actual = 4 * kl_gradient(P, y, 1).numpy()
    assert np.linalg.norm(actual - slope.reshape(-1, 2)) < 1e-6 * np.linalg.norm(slope)
    assert kl_divergence(P, y) == pytest.approx(kl, rel=1e-6)


def test_gradient_matches_autograd_of_the_divergence() -> None:
    slope, h = kl_gradient(P, Y, 1), 1e-5
    for point, axis in ((0, 0), (17, 1), (119, 0)):
        nudge = torch.zeros_like(Y)
        nudge[point, axis] = h
        finite = (kl_divergence(P, Y + nudge) - kl_divergence(P, Y - nudge)) / (2 * h)
        assert 4 * float(slope[point, axis]) == pytest.approx(finite, rel=1e-6, abs=1e-10)


def test_divergence_is_the_sum_over_all_pairs() -> None:
    q = 1 / (1 + (Y.unsqueeze(1) - Y).square().sum(2))
    q.fill_diagonal_(0)
    p, share = dense(P), q / q.sum()
    expected = torch.special.xlogy(p, p).sum() - torch.special.xlogy(p, share).sum()
    assert kl_divergence(P, Y) == pytest.approx(float(expected), rel=1e-12)
    assert kl_divergence(P, Y, q.sum() * math.e) == pytest.approx(float(expected) + 1, rel=1e-12)
    assert kl_divergence(P.to(torch.float32), Y.float()) == pytest.approx(float(expected), rel=1e-5)


def test_attraction_is_the_sum_over_neighbors_times_exaggeration() -> None:
    d = Y.unsqueeze(1) - Y
    expected = ((dense(P) / (1 + d.square().sum(2))).unsqueeze(2) * d).sum(1)
    assert torch.allclose(attractive_forces(P, Y), expected, rtol=1e-10, atol=1e-15)
    assert torch.allclose(
        kl_gradient(P, Y, 12) - kl_gradient(P, Y, 1), 11 * expected, rtol=1e-8, atol=1e-15
    )
    assert kl_gradient(P.to(torch.float32), Y.float(), 1).dtype == torch.float32


@pytest.mark.parametrize("n", [120, MAX_EXACT_POINTS + 100])
def test_gradient_is_permutation_equivariant(n: int) -> None:
    x, y = torch.randn(2, n, 2, generator=RNG, dtype=torch.float64)
    order = torch.randperm(n, generator=RNG)
    expected = kl_gradient(compute_affinities(PointSet(x), 10), y, 4)[order]
    actual = kl_gradient(compute_affinities(PointSet(x[order]), 10), y[order], 4)
    assert (actual - expected).abs().max() < 1e-10 * expected.abs().max()


def test_step_applies_momentum_and_gains() -> None:
    """By hand: a gain grows by 0.2 while the slope keeps its sign, and else shrinks by a fifth."""
    y = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    slope = torch.tensor([[0.1, 0.2], [-0.1, -0.2]], dtype=torch.float64)
    turned = slope * torch.tensor([1, -1])
    descent = DeltaBarDelta(y)
    descent.step(slope, 0.5)
    assert torch.allclose(descent.y, y - 0.5 * 1.2 * slope)
    descent.step(turned, 0.5)
    gains = torch.tensor([1.4, 1.2 * 0.8], dtype=torch.float64)
    assert torch.allclose(descent.gains, gains.expand(2, 2))
    expected = 0.8 * (-0.5 * 1.2 * slope) - 0.5 * gains * turned
    assert torch.allclose(descent.velocity, expected)
    assert torch.allclose(descent.y, y - 0.5 * 1.2 * slope + expected)


def test_gains_have_a_minimum() -> None:
    descent = DeltaBarDelta(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    for step in range(60):
        descent.step(descent.velocity.clone() if step else torch.ones(2, 2), 1e-9)
    assert descent.gains.min() == pytest.approx(0.01)


def test_moves_are_limited_and_the_map_stays_centered() -> None:
    descent = DeltaBarDelta(Y)
    slope = torch.zeros_like(Y)
    slope[0], slope[1] = torch.tensor([3e6, -4e6]), torch.tensor([0.01, 0])
    before = descent.y - descent.y.mean(0)
    descent.step(slope, 1)
    assert descent.velocity[0].tolist() == pytest.approx([-MAX_MOVE * 0.6, MAX_MOVE * 0.8])
    assert descent.velocity[1].tolist() == pytest.approx([-0.012, 0])
    assert descent.y.mean(0).abs().max() < 1e-12
    moved = descent.y - before
    assert torch.allclose(moved[0] - moved[2], descent.velocity[0])


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
    few = {"early_steps": 20, "steps": 30}
    assert torch.equal(compute_map(PIXELS, **few)[0], compute_map(PIXELS, **few)[0])
    noise = torch.randn(360, 2, generator=torch.Generator().manual_seed(1))
    other, _ = tsne(
        PointSet(PIXELS), principal_components(PIXELS, 2)[0], noise, None, **(SETTINGS | few)
    )
    assert not torch.equal(other, compute_map(PIXELS, **few)[0])


def test_optimization_is_permutation_equivariant() -> None:
    """For as many steps as rounding does not outgrow."""
    order = torch.randperm(120, generator=RNG)
    settings = {**SETTINGS, "perplexity": 12, "early_steps": 20, "steps": 20}
    y, _ = tsne(PointSet(X), principal_components(X, 2)[0], NOISE, None, **settings)
    again, _ = tsne(
        PointSet(X[order]), principal_components(X[order], 2)[0], NOISE[order], None, **settings
    )
    assert (again - y[order]).abs().max() < 1e-6 * y.abs().max() and y.dtype == torch.float64


def test_callback_receives_steps_and_divergence() -> None:
    told: list[tuple[int, int, float]] = []
    settings = {**SETTINGS, "perplexity": 12, "early_steps": 60, "steps": 75}
    _, scores = tsne(
        PointSet(X),
        principal_components(X, 2)[0],
        NOISE,
        lambda *words: told.append(words),
        **settings,
    )
    assert [(done, total) for done, total, _ in told] == [
        (REPORT_INTERVAL, 135),
        (2 * REPORT_INTERVAL, 135),
        (135, 135),
    ]
    assert all(math.isfinite(kl) for *_, kl in told) and told[0][2] > told[-1][2] == pytest.approx(
        scores["kl"]
    )


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
    begun = scale_initial_map(principal_components(X, 2)[0], NOISE)
    y, scores = tsne(
        PointSet(X),
        principal_components(X, 2)[0],
        NOISE,
        None,
        **(SETTINGS | {"early_steps": 0, "steps": 0}),
    )
    assert torch.equal(y, begun) and scores["kl"] > 0
    assert torch.equal(optimize_map(P, begun, []), begun)


def test_equal_points_are_close_but_distinct() -> None:
    x = torch.cat([X[:40], X[:40]]).float()
    y, scores = tsne(
        PointSet(x),
        principal_components(x, 2)[0],
        NOISE[:80],
        None,
        **(SETTINGS | {"perplexity": 5, "steps": 100}),
    )
    apart = (y[:40] - y[40:]).norm(dim=1)
    assert apart.min() > 0 and math.isfinite(scores["kl"])
    assert apart.median() < (y - y.roll(1, 0)).norm(dim=1).median() / 5  # not far, though
    one = torch.ones(30, 4)
    y, scores = tsne(
        PointSet(one),
        principal_components(one, 2)[0],
        NOISE[:30],
        None,
        **(SETTINGS | {"perplexity": 5}),
    )
    assert y.isfinite().all() and math.isfinite(scores["kl"]) and len(y.unique(dim=0)) == 30


def test_affinities_use_three_times_the_perplexity_neighbors() -> None:
    made = compute_affinities(PointSet(X), 12)
    mutual = torch.zeros(120, 120, dtype=torch.bool)
    mutual.scatter_(1, find_neighbors(X, 37)[1], True)
    assert torch.equal(dense(made) > 0, mutual | mutual.T)
    assert float(made.values.sum()) == pytest.approx(1)


@pytest.mark.parametrize(("n", "most"), [(5, 1), (10, 2), (11, 3), (120, 39)])
def test_maximum_perplexity_is_accepted_and_more_raises(n: int, most: int) -> None:
    assert compute_affinities(PointSet(X[:n]), most).values.isfinite().all()
    for wrong in (most + 0.5, 0.5, math.nan):
        with pytest.raises(
            ValueError,
            match=f"below a third of the {n} images, not {wrong:g}; the maximum is {most}",
        ):
            compute_affinities(PointSet(X[:n]), wrong)


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
        near = find_neighbors(y, 10)[1]
        accuracies.append(knn_accuracy(near, dataset.labels[order]))
        trusts.append(trustworthiness(x[order], near))
        divergences.append(scores["kl"])
    assert max(accuracies) - min(accuracies) < 0.005 and min(accuracies) > 0.94
    assert max(trusts) - min(trusts) < 0.005 and min(trusts) > 0.97
    assert max(divergences) < 1.02 * min(divergences)
