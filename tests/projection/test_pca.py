import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from cnnlab.projection.knn import PointSet
from cnnlab.projection.pca import pca, principal_components

RNG = torch.Generator().manual_seed(0)
X = torch.randn(120, 9, generator=RNG, dtype=torch.float64) * torch.arange(1, 10) + 3
NONE = torch.zeros(0)


def test_components_match_scikit_learn_up_to_sign() -> None:
    theirs = PCA(5, svd_solver="full").fit(X.numpy())
    components, ratios = principal_components(X, 5)
    assert np.allclose(np.abs(components.numpy()), np.abs(theirs.transform(X.numpy())), atol=1e-9)
    assert ratios == pytest.approx(theirs.explained_variance_ratio_.tolist())


def test_components_match_scikit_learn_with_more_dimensions_than_points() -> None:
    wide = torch.randn(20, 300, generator=RNG, dtype=torch.float64)
    theirs = PCA(3, svd_solver="full").fit(wide.numpy())
    components, ratios = principal_components(wide, 3)
    assert np.allclose(
        np.abs(components.numpy()), np.abs(theirs.transform(wide.numpy())), atol=1e-9
    )
    assert ratios == pytest.approx(theirs.explained_variance_ratio_.tolist())


@pytest.mark.parametrize("x", [X, X[:5]])
def test_largest_loading_of_each_axis_is_positive(x: torch.Tensor) -> None:
    centered = x - x.mean(0)
    loadings = centered.T @ principal_components(x, 3)[0]
    assert (loadings.gather(0, loadings.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("x", [X, X[:8]])
def test_components_are_permutation_equivariant(x: torch.Tensor) -> None:
    order = torch.randperm(len(x), generator=RNG)
    assert (
        principal_components(x[order], 4)[0] - principal_components(x, 4)[0][order]
    ).abs().max() < 1e-10


def test_missing_axes_are_zeros() -> None:
    components, ratios = principal_components(X[:, :1].float(), 3)
    assert (
        components.shape == (120, 3)
        and components.dtype == torch.float32
        and (components[:, 1:] == 0).all()
    )
    assert torch.allclose(
        components[:, 0], X[:, 0].float() - X[:, 0].float().mean(), atol=1e-5
    ) and ratios == [1, 0, 0]
    components, ratios = principal_components(X[:2], 4)  # two points lie on one line
    assert (
        components.shape == (2, 4)
        and ratios == pytest.approx([1, 0, 0, 0])
        and components[:, 1:].abs().max() < 1e-6
    )


def test_constant_features_have_zero_variance_ratio() -> None:
    constant = torch.cat([X, torch.full((120, 2), 1e3, dtype=torch.float64)], 1)
    assert torch.allclose(principal_components(constant, 3)[0], principal_components(X, 3)[0])
    components, ratios = principal_components(torch.ones(10, 4), 2)
    assert (components == 0).all() and ratios == [0, 0]


def test_pca_map_is_the_first_two_components() -> None:
    y, scores = pca(PointSet(X), NONE, NONE, None)
    expected, ratios = principal_components(X, 2)
    assert torch.equal(y, expected) and scores == {"explained_variance_ratio": sum(ratios)}
