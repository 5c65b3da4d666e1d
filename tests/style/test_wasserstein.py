"""The Wasserstein distance against scipy, finite differences and its own definition."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from cnnlab.style.wasserstein import moment_matrix, split_moments, wasserstein_distance


def make_maps(seed: int, channels: int = 5, scale: float = 1.0) -> Tensor:
    """Return random maps (1, K, 6, 7) whose channels are correlated."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(channels, channels, generator=g, dtype=torch.float64)
    maps = torch.randn(channels, 42, generator=g, dtype=torch.float64)
    return (scale * (mix @ maps).relu()).view(1, channels, 6, 7)


def test_moments_are_mean_and_covariance() -> None:
    maps = make_maps(0)
    mean, covariance = split_moments(moment_matrix(maps))
    columns = maps.flatten(2)[0]
    torch.testing.assert_close(mean, columns.mean(1))
    torch.testing.assert_close(covariance, columns.cov(correction=0))


def test_moments_of_tiles_add_up() -> None:
    maps = make_maps(0)
    parts = [moment_matrix(maps[..., :3], 42), moment_matrix(maps[..., 3:], 42)]
    torch.testing.assert_close(parts[0] + parts[1], moment_matrix(maps))


def test_tile_without_positions_adds_nothing() -> None:
    """As the last tiles of a row at the deepest layer."""
    maps = make_maps(0)
    assert not moment_matrix(maps[..., :0], 42).any()


@pytest.mark.parametrize("seed", range(3))
def test_distance_equals_scipys_square_root(seed: int) -> None:
    x, y = moment_matrix(make_maps(seed)), moment_matrix(make_maps(seed + 10, scale=2))
    (m, S), (n, T) = (tuple(part.numpy() for part in split_moments(z)) for z in (x, y))
    root = scipy.linalg.sqrtm(T)
    cross = scipy.linalg.sqrtm(root @ S @ root).real
    expected = np.square(m - n).sum() + np.trace(S + T - 2 * cross)
    assert wasserstein_distance(x, y).item() == pytest.approx(expected, rel=1e-9)
    assert wasserstein_distance(y, x).item() == pytest.approx(expected, rel=1e-9)


def test_gradient_equals_finite_differences() -> None:
    target = moment_matrix(make_maps(1))

    def distance(maps: Tensor) -> Tensor:
        return wasserstein_distance(moment_matrix(maps), target)

    assert torch.autograd.gradcheck(distance, make_maps(2).requires_grad_(), atol=1e-6)


def test_distance_to_itself_is_zero_and_a_minimum() -> None:
    maps = make_maps(3).requires_grad_()
    moments = moment_matrix(maps)
    distance = wasserstein_distance(moments, moments.detach())
    (gradient,) = torch.autograd.grad(distance, maps)
    assert abs(distance.item()) < 1e-9 and gradient.abs().max() < 1e-6


def test_distance_of_one_dimensional_gaussians_is_that_of_means_and_deviations() -> None:
    x, y = make_maps(4, channels=1), make_maps(5, channels=1, scale=3)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(correction=0) - y.std(correction=0)) ** 2
    torch.testing.assert_close(wasserstein_distance(moment_matrix(x), moment_matrix(y)), expected)


def test_gradient_is_finite_where_covariances_are_singular() -> None:
    constant = torch.full((1, 4, 3, 3), 0.5).requires_grad_()
    for target in (make_maps(6, channels=4).float(), torch.zeros(1, 4, 3, 3)):
        distance = wasserstein_distance(moment_matrix(constant), moment_matrix(target))
        (gradient,) = torch.autograd.grad(distance, constant)
        assert distance.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_distance_of_maps_that_are_not_finite_is_not_finite(value: float) -> None:
    """The eigenvalues' solver itself raises."""
    maps = make_maps(0)
    maps[0, 0, 0, 0] = value
    assert not wasserstein_distance(moment_matrix(maps), moment_matrix(make_maps(1))).isfinite()
