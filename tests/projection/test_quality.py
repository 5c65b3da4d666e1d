import numpy as np
import pytest
import torch
from sklearn import manifold, metrics
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from cnnlab.projection import knn
from cnnlab.projection.knn import find_neighbors
from cnnlab.projection.quality import knn_accuracy, neighbor_overlap, silhouette, trustworthiness

RNG = torch.Generator().manual_seed(0)
LABELS = torch.randint(4, (160,), generator=RNG) * 2  # 1, 3 and 5 never occur
X = (
    torch.randn(160, 6, generator=RNG, dtype=torch.float64)
    + 1.2 * torch.nn.functional.one_hot(LABELS, 7)[:, :6]
)
# A map that does not preserve the neighborhoods well.
Y = X[:, ::3] + 0.5 * torch.randn(160, 2, generator=RNG, dtype=torch.float64)
SOME = torch.tensor([3, 150, 17, 42, 8])


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_knn_accuracy_matches_scikit_learn_leave_one_out(k: int) -> None:
    expected = cross_val_predict(
        KNeighborsClassifier(k, algorithm="brute"), X.numpy(), LABELS.numpy(), cv=LeaveOneOut()
    )
    assert knn_accuracy(find_neighbors(X, k)[1], LABELS) == pytest.approx(
        (expected == LABELS.numpy()).mean()
    )


def test_knn_accuracy_breaks_ties_by_the_first_class() -> None:
    index, labels = torch.tensor([[1, 2], [0, 2], [0, 1]]), torch.tensor([0, 3, 1])
    assert knn_accuracy(index, labels) == 0
    assert knn_accuracy(index, torch.tensor([1, 3, 1])) == pytest.approx(2 / 3)


def test_neighbor_overlap_is_the_share_of_common_neighbors() -> None:
    index = torch.tensor([[1, 2, 3], [0, 2, 3]])
    assert neighbor_overlap(index, index.flip(1)) == 1
    assert neighbor_overlap(index, torch.tensor([[3, 4, 5], [0, 3, 4]])) == pytest.approx(
        (1 / 3 + 2 / 3) / 2
    )
    assert neighbor_overlap(index, torch.tensor([[4, 5, 6], [4, 5, 6]])) == 0


@pytest.mark.parametrize("k", [1, 5, 12, 79])
def test_trustworthiness_matches_scikit_learn(k: int) -> None:
    expected = manifold.trustworthiness(X.numpy(), Y.numpy(), n_neighbors=k)
    assert 0.5 < expected < 1
    assert trustworthiness(X, find_neighbors(Y, k)[1]) == pytest.approx(expected, abs=1e-9)
    assert trustworthiness(X.float() + 50, find_neighbors(Y, k)[1]) == pytest.approx(
        expected, abs=1e-4
    )


def test_identity_map_has_trustworthiness_one() -> None:
    assert trustworthiness(X, find_neighbors(X, 9)[1]) == 1


def test_silhouette_matches_scikit_learn() -> None:
    for x in (X, Y):
        assert silhouette(x, LABELS) == pytest.approx(
            metrics.silhouette_score(x.numpy(), LABELS.numpy()), abs=1e-9
        )
    assert silhouette(X.float() + 50, LABELS) == pytest.approx(silhouette(X, LABELS), abs=1e-4)


def test_singleton_class_has_silhouette_zero() -> None:
    labels = LABELS.clone()
    labels[7], labels[9] = 1, 3
    assert silhouette(X, labels) == pytest.approx(
        metrics.silhouette_score(X.numpy(), labels.numpy()), abs=1e-9
    )
    assert silhouette(X, torch.arange(160)) == 0


def test_silhouette_of_equal_points_is_finite() -> None:
    assert silhouette(torch.ones(4, 2), torch.tensor([0, 0, 1, 1])) == 0
    points = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    assert silhouette(points, torch.tensor([0, 0, 1, 1])) == 1
    assert silhouette(points, torch.tensor([0, 1, 0, 1])) == -0.5


def test_rows_select_the_evaluated_points() -> None:
    index = find_neighbors(Y, 9)[1]
    scores = [trustworthiness(X, index, row.view(1)) for row in SOME]
    assert len(set(scores)) > 1 and trustworthiness(X, index, SOME) == pytest.approx(
        np.mean(scores)
    )
    mean = np.mean([trustworthiness(X, index, row.view(1)) for row in torch.arange(160)])
    assert trustworthiness(X, index) == pytest.approx(mean)
    theirs = metrics.silhouette_samples(X.numpy(), LABELS.numpy())
    assert silhouette(X, LABELS, SOME) == pytest.approx(theirs[SOME.numpy()].mean())


def test_block_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    index = find_neighbors(Y, 9)[1]
    expected = trustworthiness(X, index), silhouette(X, LABELS)
    monkeypatch.setattr(knn, "MAX_BLOCK_ELEMENTS", 1000)
    assert (trustworthiness(X, index), silhouette(X, LABELS)) == pytest.approx(expected)


def test_undefined_scores_raise_value_error() -> None:
    with pytest.raises(ValueError, match="80 neighbors needs more than 160 points, not 160"):
        trustworthiness(X, find_neighbors(Y, 80)[1])
    with pytest.raises(ValueError, match="two classes"):
        silhouette(X, torch.full((160,), 3))
