import io

import pytest
import torch
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from cnnlab.core.errors import UsageError
from cnnlab.data.sources import digits
from cnnlab.projection.knn import Points, nearest
from cnnlab.tasks.embed import project
from cnnlab.tasks.embed.features import Embedded
from cnnlab.tasks.embed.project import Projector, Steps, drawn, of_classes, scored

REAL = digits("test", root=None)
X, LABELS = REAL.images[:120].flatten(1) / 255, REAL.labels[:120]
KEYS = {"perplexity": 10, "early_steps": 50, "early_exaggeration": 12, "steps": 100, "lr": None}


def seen(x: torch.Tensor) -> Embedded:
    n = len(x)
    return Embedded(x, REAL.images[:n].permute(0, 2, 3, 1).numpy(), LABELS[:n], [str(i) for i in range(n)],
                    torch.arange(n), None, None)  # fmt: skip


def test_the_seed_says_where_it_begins() -> None:
    project = Projector("tsne", KEYS, 3, quiet=True)
    one, again, other = project(Points(X))[0], project(Points(X))[0], project(Points(X), further=1)[0]
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(other, Projector("tsne", KEYS, 4, quiet=True)(Points(X))[0])
    with pytest.raises(UsageError, match=r"tsne: perplexity must be .* 39 is the most"):
        Projector("tsne", KEYS | {"perplexity": 50}, 0, quiet=True)(Points(X))


def test_scores_are_of_all_or_of_those_whose_class_is_known() -> None:
    y, _ = Projector("pca", {}, 0, quiet=True)(Points(X))
    found = scored(Points(X), y, nearest(y, 5)[1], LABELS, 0)
    assert found["trustworthiness"] == pytest.approx(sklearn_trustworthiness(X, y, n_neighbors=5), abs=1e-6)
    some = LABELS.clone()
    some[::2] = -1
    near = Points(X).near(5)[1]
    half = X[1::2]
    assert of_classes(X, near, some) == of_classes(half, Points(half).near(5)[1], LABELS[1::2])
    assert of_classes(X, near, torch.full_like(some, -1)) == {"knn_accuracy": None, "silhouette": None}
    assert of_classes(X, near, torch.zeros_like(some)) == {"knn_accuracy": 1.0, "silhouette": None}


def test_a_second_map_begins_at_the_first_and_lies_on_it() -> None:
    networks = {"one": (seen(X), "here"), "other": (seen(X @ torch.randn(64, 64)), "there")}
    first, second = drawn(networks, Projector("tsne", KEYS, 0, quiet=True), 5, 1)
    assert len(first.numbers["steadiness"]) == 1 and 0 < first.numbers["steadiness"][0] <= 1
    assert 0 <= second.numbers["residual"] < 1 and 0 < second.numbers["map_shared"] < 1
    alone = drawn({"other": networks["other"]}, Projector("tsne", KEYS, 0, quiet=True), 5, 0)[0]
    assert not torch.allclose(alone.y, second.y) and alone.numbers["steadiness"] == []
    twice = drawn({"one": networks["one"], "again": networks["one"]}, Projector("pca", {}, 0, quiet=True), 5, 1)
    assert twice[1].numbers["residual"] == pytest.approx(0, abs=1e-6) and "steadiness" not in twice[0].numbers
    torch.testing.assert_close(twice[0].y, twice[1].y)


def test_few_points_have_fewer_neighbours() -> None:
    (one,) = drawn({"few": (seen(X[:5]), "here")}, Projector("pca", {}, 0, quiet=True), 10, 1)
    assert one.numbers["neighbours"] == 2 and one.near.shape == (5, 4)


def test_progress_is_one_line_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.sys, "stdout", out := io.StringIO())
    steps = Steps("t-SNE")
    steps(50, 100, 1.5)
    steps(100, 100, 1.25)
    assert out.getvalue().startswith("t-SNE: step 100 of 100  KL 1.250") and out.getvalue().count("\n") == 1
