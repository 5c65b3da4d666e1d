import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.sparse import csr_matrix
from scipy.special import softmax
from sklearn.manifold import _t_sne
from torch import Tensor

from cnnlab.projection.affinities import Affinities, conditional_probabilities, joint_probabilities
from cnnlab.projection.knn import find_neighbors

RNG = torch.Generator().manual_seed(0)
X = torch.randn(200, 5, generator=RNG, dtype=torch.float64)
SQUARES, INDEX = find_neighbors(X, 46)


def perplexities(p: Tensor) -> Tensor:
    return torch.exp(-torch.special.xlogy(p, p).sum(1))


def to_dense(P: Affinities) -> Tensor:
    matrix = torch.zeros(len(P), len(P), dtype=P.values.dtype)
    matrix[P.row_indices.long(), P.col_indices.long()] = P.values
    return matrix


@pytest.mark.parametrize("perplexity", [1.5, 5, 15, 30.3, 44])
def test_rows_have_the_requested_perplexity(perplexity: float) -> None:
    p = conditional_probabilities(SQUARES, perplexity)
    assert p.dtype == torch.float64 and torch.allclose(
        p.sum(1), torch.ones(200, dtype=torch.float64)
    )
    assert (perplexities(p) - perplexity).abs().max() < 1e-6 * perplexity


def test_rows_match_gaussians_with_scipys_precision() -> None:
    p = conditional_probabilities(SQUARES, 15)
    for row in range(0, 200, 20):
        d = SQUARES[row].numpy()

        def excess(beta: float, d: np.ndarray = d) -> float:
            probabilities = softmax(-beta * d)
            return float(-(probabilities * np.log(probabilities)).sum() - np.log(15))

        expected = softmax(-brentq(excess, 1e-6, 100, xtol=1e-14) * d)
        assert np.allclose(p[row].numpy(), expected, rtol=1e-9)


def test_joint_probabilities_match_scikit_learn() -> None:
    """To a few millionths: its own search stops where the entropy is right to 1e-5."""
    rows = (SQUARES.numpy().ravel(), INDEX.numpy().ravel(), np.arange(0, 9201, 46))
    theirs = csr_matrix(rows, (200, 200), copy=True)  # it sorts them in place
    expected = _t_sne._joint_probabilities_nn(theirs, 15.0, 0).toarray()
    actual = to_dense(joint_probabilities(INDEX, conditional_probabilities(SQUARES, 15))).numpy()
    assert ((actual > 0) == (expected > 0)).all()
    assert np.allclose(200 * actual, 200 * expected, rtol=1e-4, atol=0)
    assert np.abs(200 * actual - 200 * expected).max() < 5e-6


def test_joint_probabilities_are_symmetric_and_sum_to_one() -> None:
    P = joint_probabilities(INDEX, conditional_probabilities(SQUARES, 15))
    assert P.values.sum() == pytest.approx(1, abs=1e-12) and len(P) == 200
    assert torch.equal(to_dense(P), to_dense(P).T) and (to_dense(P).diagonal() == 0).all()


def test_joint_probabilities_are_symmetrized_conditionals() -> None:
    p = conditional_probabilities(SQUARES, 15)
    conditional = torch.zeros(200, 200, dtype=torch.float64).scatter_(1, INDEX, p)
    assert torch.allclose(
        to_dense(joint_probabilities(INDEX, p)), (conditional + conditional.T) / 400, rtol=1e-14
    )


def test_crow_indices_match_row_indices() -> None:
    P = joint_probabilities(INDEX, conditional_probabilities(SQUARES, 15))
    assert P.crow_indices.tolist() == [int((P.row_indices < row).sum()) for row in range(201)]
    matrix = torch.sparse_csr_tensor(
        P.crow_indices, P.col_indices, P.values, (200, 200), check_invariants=True
    )
    assert torch.equal(matrix.to_dense(), to_dense(P))
    assert P.to(torch.float32).values.dtype == torch.float32


def test_point_that_is_no_ones_neighbor_has_affinities() -> None:
    index, p = torch.tensor([[1], [0], [0], [0]]), torch.ones(4, 1, dtype=torch.float64)
    P = joint_probabilities(index, p)
    assert P.crow_indices.tolist() == [0, 3, 4, 5, 6]
    assert to_dense(P)[0].tolist() == [0, 0.25, 0.125, 0.125]


def test_joint_probabilities_are_permutation_equivariant() -> None:
    order = torch.randperm(200, generator=RNG)
    squares, index = find_neighbors(X[order], 46)
    expected = to_dense(joint_probabilities(INDEX, conditional_probabilities(SQUARES, 15)))
    actual = to_dense(joint_probabilities(index, conditional_probabilities(squares, 15)))
    assert (200 * (actual - expected[order][:, order])).abs().max() < 1e-10


def test_neighbor_order_does_not_matter() -> None:
    order = torch.randperm(46, generator=RNG)
    assert torch.allclose(
        conditional_probabilities(SQUARES[:, order], 15),
        conditional_probabilities(SQUARES, 15)[:, order],
        rtol=1e-10,
    )


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_affinities_are_scale_invariant(scale: float) -> None:
    assert torch.allclose(
        conditional_probabilities(SQUARES * scale, 15),
        conditional_probabilities(SQUARES, 15),
        rtol=1e-9,
    )
    assert torch.allclose(
        conditional_probabilities((SQUARES * scale).float(), 15),
        conditional_probabilities(SQUARES, 15),
        rtol=1e-4,
    )


def test_equal_distances_give_uniform_probabilities() -> None:
    assert torch.allclose(
        conditional_probabilities(torch.zeros(3, 10), 4),
        torch.full((3, 10), 0.1, dtype=torch.float64),
    )
    assert torch.allclose(
        conditional_probabilities(torch.full((3, 10), 7.0), 4),
        torch.full((3, 10), 0.1, dtype=torch.float64),
    )
    # Six neighbors at the least distance have perplexity 6 at least.
    tied = conditional_probabilities(torch.tensor([[0.0] * 6 + [1.0] * 4]), 4)
    assert torch.allclose(tied, torch.tensor([[1 / 6] * 6 + [0.0] * 4], dtype=torch.float64))


def test_affinities_are_finite_for_equal_and_distant_points() -> None:
    distant = torch.tensor([[0.0, 1e-20, 1e-10, 1.0, 1e10, 1e20]])
    for perplexity in (1, 1.01, 3, 5.9):
        assert conditional_probabilities(distant, perplexity).isfinite().all()
    for x in (torch.zeros(20, 3), torch.cat([X[:10], X[:1].expand(10, 5)])):
        squares, index = find_neighbors(x, 10)
        P = joint_probabilities(index, conditional_probabilities(squares, 3))
        assert P.values.isfinite().all() and float(P.values.sum()) == pytest.approx(1)


@pytest.mark.parametrize("perplexity", [0.9, 46, 100, float("nan")])
def test_perplexity_out_of_range_raises_value_error(perplexity: float) -> None:
    with pytest.raises(
        ValueError, match=f"perplexity {perplexity:g} is not possible with 46 neighbors"
    ):
        conditional_probabilities(SQUARES, perplexity)
