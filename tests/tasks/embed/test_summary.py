import numpy as np
import torch

from cnnlab.tasks.embed.features import FeatureSet
from cnnlab.tasks.embed.project import EmbeddingMap
from cnnlab.tasks.embed.summary import (
    build_score_rows,
    format_map_caption,
    format_map_headline,
    list_map_facts,
)


def make_map(name: str, labels: list[int], **scores: float | list[float] | None) -> EmbeddingMap:
    n = len(labels)
    features = FeatureSet(
        torch.zeros(n, 3),
        np.zeros((n, 2, 2, 1), np.uint8),
        torch.tensor(labels),
        [f"test #{i}" for i in range(n)],
        torch.arange(n),
        None,
        None,
    )
    defaults = {
        "neighbors": 10,
        "neighborhood_preservation": 0.5,
        "trustworthiness": 0.9,
        "feature_neighbor_overlap": 0.1,
        "map_neighbor_overlap": 0.2,
        "map": {"knn_accuracy": 0.5, "silhouette": None},
        "features": {"knn_accuracy": 0.6, "silhouette": None},
    }
    coordinates, neighbors = torch.zeros(n, 2), torch.zeros(n, 1, dtype=torch.int64)
    return EmbeddingMap(
        name, features, "penultimate features", coordinates, neighbors, defaults | scores
    )


def test_headline_counts_labeled_images_only() -> None:
    first, second = make_map("first", [0, 1, 0, 1]), make_map("second", [0, 1, 0, 1])
    assert format_map_headline([first]) == "10-NN accuracy on the map of 4 images: 50.00%"
    assert (
        format_map_headline([first, second])
        == "10-NN accuracy on the map of 4 images: first 50.00%, second 50.00%"
    )
    partly_labeled = make_map("first", [0, 1, -1, -1])
    assert (
        format_map_headline([partly_labeled])
        == "10-NN accuracy on the map of 2 labeled images: 50.00%"
    )


def test_headline_without_labels_is_the_neighborhood_preservation() -> None:
    unlabeled = make_map("first", [-1, -1])
    unlabeled.scores["map"] = {"knn_accuracy": None, "silhouette": None}
    assert format_map_headline([unlabeled]) == "Neighborhood preservation@10 of 2 images: 50%"


def test_caption_names_the_initial_map_for_tsne_only() -> None:
    first = make_map("one", [0, 1])
    assert format_map_caption(first, make_map("two", [0, 1])).startswith(
        "two's map is aligned with one's (Procrustes). Common 10 nearest neighbors: 10.0% in"
    )
    assert format_map_caption(first, make_map("two", [0, 1], kl=1.0)).startswith(
        "two's map starts from one's and is aligned with one's (Procrustes)."
    )


def test_caption_of_one_map_has_its_features_and_scores() -> None:
    assert format_map_caption(make_map("one", [0, 1], kl=1.0)) == (
        "t-SNE of 3-dimensional penultimate features. 10-NN accuracy in feature space: 60.00%. "
        "Neighborhood preservation@10: 50%."
    )


def test_facts_of_two_maps_name_the_network_of_the_predictions() -> None:
    first, second = make_map("one", [0, 1]), make_map("two", [0, 1])
    fact = "Predictions, neighbors and scores on every map: one's"
    assert fact in list_map_facts(first, second) and fact not in list_map_facts(first)


def test_score_rows_have_standard_labels() -> None:
    rows = build_score_rows(make_map("one", [0, 1], kl=1.5, seed_stability=[0.25, 0.5]))
    assert rows == [
        ("10-NN accuracy", "60.00%", "50.00%"),
        ("trustworthiness", "", "0.9000"),
        ("neighborhood preservation@10", "", "50.0%"),
        ("seed stability@10", "", "25.0%, 50.0%"),
        ("KL divergence (nats)", "", "1.5000"),
    ]
