import numpy as np
import pytest
import torch

from cnnlab.projection import knn
from cnnlab.projection.knn import (
    PointSet,
    count_duplicates,
    find_neighbors,
    split_rows,
    squared_distances,
)

RNG = torch.Generator().manual_seed(0)
X = torch.randn(150, 7, generator=RNG, dtype=torch.float64) + 5
OTHERS = torch.randn(90, 7, generator=RNG, dtype=torch.float64) + 5


def brute_force_distances(x: torch.Tensor, candidates: torch.Tensor) -> np.ndarray:
    return ((x.numpy()[:, None] - candidates.numpy()[None]) ** 2).sum(2)


def test_neighbors_match_brute_force() -> None:
    expected = brute_force_distances(X, X)
    np.fill_diagonal(expected, np.inf)
    d, index = find_neighbors(X, 12)
    assert np.array_equal(index.numpy(), expected.argsort(1)[:, :12])
    assert np.allclose(d.numpy(), np.sort(expected, 1)[:, :12], rtol=1e-10)
    assert (index != torch.arange(150).unsqueeze(1)).all()


def test_neighbors_among_candidates_match_brute_force() -> None:
    expected = brute_force_distances(X, OTHERS)
    d, index = find_neighbors(X, 90, OTHERS)
    assert np.array_equal(index.numpy(), expected.argsort(1))
    assert np.allclose(d.numpy(), np.sort(expected, 1), rtol=1e-10)
    # Among the points themselves, each is its own nearest neighbor.
    assert (find_neighbors(X, 1, X)[1].squeeze(1) == torch.arange(150)).all()


def test_small_distances_far_from_origin_are_resolved() -> None:
    x = X.float() + 300
    expected = brute_force_distances(x.double(), x.double())
    np.fill_diagonal(expected, np.inf)
    assert np.array_equal(find_neighbors(x, 3)[1].numpy(), expected.argsort(1)[:, :3])


def test_duplicate_point_is_its_nearest_neighbor() -> None:
    d, index = find_neighbors(torch.cat([X, X]), 1)
    assert (index.squeeze(1) == (torch.arange(300) + 150) % 300).all() and d.max() < 1e-10


@pytest.mark.parametrize("block", [1, 149, 1000, 150 * 150])
def test_block_size_does_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = find_neighbors(X, 9)
    monkeypatch.setattr(knn, "MAX_BLOCK_ELEMENTS", block)
    d, index = find_neighbors(X, 9)
    assert torch.equal(index, expected[1]) and torch.allclose(d, expected[0], rtol=1e-12)


def test_blocks_are_as_large_as_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "MAX_BLOCK_ELEMENTS", 1000)
    parts = split_rows(torch.arange(150), 150)
    assert [len(part) for part in parts] == [6] * 25 and torch.equal(
        torch.cat(parts), torch.arange(150)
    )


def test_distances_are_not_negative() -> None:
    x = X.float() * 1000
    d = squared_distances(x, x)
    assert d.min() == 0 and d.diagonal().max() < 1e-3 * d.max()


@pytest.mark.parametrize("k", [0, -1, 150])
def test_too_large_k_raises_value_error(k: int) -> None:
    with pytest.raises(ValueError, match=f"{k} neighbors of 149 points"):
        find_neighbors(X, k)
    with pytest.raises(ValueError, match="91 neighbors of 90 points"):
        find_neighbors(X, 91, OTHERS)


def test_neighbors_are_cached() -> None:
    """Fewer neighbors share the memory of those found before; more are searched again."""
    points, addresses = PointSet(X), []
    for k in (5, 3, 5, 8, 2):
        distances, indices = points.kneighbors(k)
        for actual, expected in zip((distances, indices), find_neighbors(X, k), strict=True):
            assert torch.equal(actual, expected)
        addresses.append(distances.data_ptr())
    assert addresses[0] == addresses[1] == addresses[2] != addresses[3] == addresses[4]
    assert len(points) == 150


def test_count_duplicates_counts_repeated_points(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(50, 7)
    assert count_duplicates(x) == 0
    x[[3, 40, 41]] = x[[7, 7, 8]]
    assert count_duplicates(x) == 3
    monkeypatch.setattr(knn, "MAX_BLOCK_ELEMENTS", 20)
    assert count_duplicates(x) == 3 and count_duplicates(torch.ones(9, 2)) == 8
