"""t-SNE's initial map, gradient, divergence and descent steps."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import _t_sne

from cnnlab.projection.knn import PointSet
from cnnlab.projection.pca import principal_components
from cnnlab.projection.repulsion import MAX_EXACT_POINTS
from cnnlab.projection.tsne import (
    MAX_MOVE,
    DeltaBarDelta,
    attractive_forces,
    compute_affinities,
    kl_divergence,
    kl_gradient,
    scale_initial_map,
)
from tests.projection.test_affinities import to_dense

RNG = torch.Generator().manual_seed(0)
X = torch.randn(120, 6, generator=RNG, dtype=torch.float64)
Y = 3 * torch.randn(120, 2, generator=RNG, dtype=torch.float64)
NOISE = torch.randn(120, 2, generator=RNG, dtype=torch.float64)
P = compute_affinities(PointSet(X), 12)


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
    expected = scale_initial_map(principal_components(X, 2)[0], NOISE)
    assert (
        scale_initial_map(principal_components(X[order], 2)[0], NOISE[order]) - expected[order]
    ).abs().max() < 1e-10 * 1e-4


@pytest.mark.parametrize("scale", [1, 1e-4, 30])
def test_gradient_and_divergence_match_scikit_learn(scale: float) -> None:
    y = Y * scale
    # scikit-learn's P sums to one over the pairs i < j, twice.
    upper = to_dense(P).numpy()[np.triu_indices(120, 1)] * 2
    kl, slope = _t_sne._kl_divergence(y.numpy().ravel(), upper / 2, 1.0, 120, 2)
    actual = 4 * kl_gradient(P, y, 1).numpy()
    assert np.linalg.norm(actual - slope.reshape(-1, 2)) < 1e-6 * np.linalg.norm(slope)
    assert kl_divergence(P, y) == pytest.approx(kl, rel=1e-6)


def test_gradient_matches_autograd_of_the_divergence() -> None:
    slope, h = kl_gradient(P, Y, 1), 1e-5
    for point, axis in ((0, 0), (17, 1), (119, 0)):
        offset = torch.zeros_like(Y)
        offset[point, axis] = h
        finite = (kl_divergence(P, Y + offset) - kl_divergence(P, Y - offset)) / (2 * h)
        assert 4 * float(slope[point, axis]) == pytest.approx(finite, rel=1e-6, abs=1e-10)


def test_divergence_is_the_sum_over_all_pairs() -> None:
    q = 1 / (1 + (Y.unsqueeze(1) - Y).square().sum(2))
    q.fill_diagonal_(0)
    p, share = to_dense(P), q / q.sum()
    expected = torch.special.xlogy(p, p).sum() - torch.special.xlogy(p, share).sum()
    assert kl_divergence(P, Y) == pytest.approx(float(expected), rel=1e-12)
    assert kl_divergence(P, Y, q.sum() * math.e) == pytest.approx(float(expected) + 1, rel=1e-12)
    assert kl_divergence(P.to(torch.float32), Y.float()) == pytest.approx(float(expected), rel=1e-5)


def test_attraction_is_the_sum_over_neighbors_times_exaggeration() -> None:
    d = Y.unsqueeze(1) - Y
    expected = ((to_dense(P) / (1 + d.square().sum(2))).unsqueeze(2) * d).sum(1)
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
    flipped_slope = slope * torch.tensor([1, -1])
    descent = DeltaBarDelta(y)
    descent.step(slope, 0.5)
    assert torch.allclose(descent.y, y - 0.5 * 1.2 * slope)
    descent.step(flipped_slope, 0.5)
    gains = torch.tensor([1.4, 1.2 * 0.8], dtype=torch.float64)
    assert torch.allclose(descent.gains, gains.expand(2, 2))
    expected = 0.8 * (-0.5 * 1.2 * slope) - 0.5 * gains * flipped_slope
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
    change = descent.y - before
    assert torch.allclose(change[0] - change[2], descent.velocity[0])
