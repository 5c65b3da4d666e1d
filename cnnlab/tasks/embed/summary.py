"""Summarize maps and their quality in words."""

import json
from typing import Any

from cnnlab.core.display_text import format_cell
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.quoting import quote_argument
from cnnlab.tasks.embed.near_duplicates import NearDuplicate
from cnnlab.tasks.embed.project import EmbeddingMap


def format_map_headline(maps: list[EmbeddingMap]) -> str:
    """Return the main result in one line."""
    features, scores = maps[0].feature_set, maps[0].scores
    k, labeled = scores["neighbors"], int((features.labels >= 0).sum())
    accuracies = [embedding_map.scores["map"]["knn_accuracy"] for embedding_map in maps]
    if None in accuracies:
        preservation = scores["neighborhood_preservation"]
        return f"Neighborhood preservation@{k} of {len(features):,} images: {preservation:.0%}"
    images = f"{labeled:,} images" if labeled == len(features) else f"{labeled:,} labeled images"
    values = [f"{accuracy:.2%}" for accuracy in accuracies]
    if len(maps) > 1:
        names = [embedding_map.name for embedding_map in maps]
        values = [f"{name} {value}" for name, value in zip(names, values, strict=True)]
    return f"{k}-NN accuracy on the map of {images}: {', '.join(values)}"


def describe_features(embedding_map: EmbeddingMap) -> str:
    """Return the features of a map in words: '128-dimensional penultimate features'."""
    dimensions = embedding_map.feature_set.features.shape[1]
    return f"{dimensions:,}-dimensional {embedding_map.feature_source}"


def format_map_caption(first: EmbeddingMap, second: EmbeddingMap | None = None) -> str:
    """Return the caption of a figure of one map, or of two that are aligned."""
    if second is not None:
        return format_comparison_caption(first, second)
    scores, k = first.scores, first.scores["neighbors"]
    method = "t-SNE" if "kl" in scores else "First two principal components"
    accuracy = scores["features"]["knn_accuracy"]
    return (
        f"{method} of {describe_features(first)}. "
        + ("" if accuracy is None else f"{k}-NN accuracy in feature space: {accuracy:.2%}. ")
        + f"Neighborhood preservation@{k}: {scores['neighborhood_preservation']:.0%}."
    )


def format_comparison_caption(first: EmbeddingMap, second: EmbeddingMap) -> str:
    """Return the caption of a figure of two aligned maps."""
    scores = second.scores
    start = f"starts from {first.name}'s and is" if "kl" in scores else "is"
    return (
        f"{second.name}'s map {start} aligned with {first.name}'s (Procrustes). "
        f"Common {scores['neighbors']} nearest neighbors: "
        f"{scores['feature_neighbor_overlap']:.1%} in feature space, "
        f"{scores['map_neighbor_overlap']:.1%} on the map."
    )


def list_map_facts(first: EmbeddingMap, *others: EmbeddingMap) -> list[str]:
    """Return the lines of the page's header: the features, and the scores of the first map."""
    facts = [describe_features(first)]
    if others:
        facts.append(f"Predictions, neighbors and scores on every map: {first.name}'s")
    for label, features, on_map in build_score_rows(first):
        both = f"{features} in feature space, {on_map} on the map"
        facts.append(f"{label}: {both if features and on_map else features or on_map}")
    return facts


def build_score_rows(embedding_map: EmbeddingMap) -> list[tuple[str, str, str]]:
    """Return (label, value of the features, value of the map); empty where there is none."""
    scores, k = embedding_map.scores, embedding_map.scores["neighbors"]
    stability = ", ".join(f"{overlap:.1%}" for overlap in scores.get("seed_stability", []))
    ratio = scores.get("explained_variance_ratio")
    rows = [
        (f"{k}-NN accuracy", *format_score_pair(scores, "knn_accuracy", "{:.2%}")),
        ("silhouette coefficient", *format_score_pair(scores, "silhouette", "{:.3f}")),
        ("trustworthiness", "", format_optional(scores["trustworthiness"], "{:.4f}")),
        (
            f"neighborhood preservation@{k}",
            "",
            f"{scores['neighborhood_preservation']:.1%}",
        ),
        (f"seed stability@{k}", "", stability),
        ("KL divergence (nats)", "", format_optional(scores.get("kl"), "{:.4f}")),
        ("explained variance of the two axes", "", format_optional(ratio, "{:.1%}")),
    ]
    return [row for row in rows if row[1] or row[2]]


def format_optional(value: float | None, form: str) -> str:
    """Return a formatted number; empty for None."""
    return "" if value is None else form.format(value)


def format_score_pair(scores: dict[str, Any], name: str, form: str) -> tuple[str, str]:
    """Return a score of the features and of the map."""
    features, on_map = scores["features"][name], scores["map"][name]
    return format_optional(features, form), format_optional(on_map, form)


def print_map_summary(
    figure_log: FigureLog,
    maps: list[EmbeddingMap],
    near_duplicates: list[NearDuplicate],
    *,
    as_json: bool,
) -> None:
    """Print the scores in 80 columns and where the files are; or as JSON."""
    folder = figure_log.folder
    if as_json:
        print(json.dumps(figure_log.figures[0].numbers | {"folder": str(folder)}))
        return
    print_map_scores(maps)
    print_warnings(maps, near_duplicates)
    print(f"\n{folder}")
    print("  map.html          interactive map: pan, zoom and search in a browser")
    for figure in figure_log.figures:
        print(f"  figures/{figure.name}.png")
    print("  embedding.npz     features, coordinates, labels, predictions")
    print("  scores.json       all scores and near-duplicates")
    print(f"TensorBoard (Projector):\n  tensorboard --logdir {quote_argument(str(folder))}")


def print_map_scores(maps: list[EmbeddingMap]) -> None:
    """Print a table of scores for each map, and how much two maps have in common."""
    for embedding_map in maps:
        heading = format_cell(embedding_map.name if len(maps) > 1 else "", 43)
        print(f"\n{heading} {'features':>12}{'map':>12}")
        for label, features, on_map in build_score_rows(embedding_map):
            print(f"{label:<44}{features:>12}{on_map:>12}")
    if len(maps) > 1:
        scores = maps[1].scores
        overlaps = scores["feature_neighbor_overlap"], scores["map_neighbor_overlap"]
        label = f"common {scores['neighbors']} nearest neighbors"
        print(f"\n{label:<44}{overlaps[0]:>12.1%}{overlaps[1]:>12.1%}")
        print(f"{'residual variance after alignment':<56}{scores['residual']:>12.1%}")


def print_warnings(maps: list[EmbeddingMap], near_duplicates: list[NearDuplicate]) -> None:
    """Print how many images have equal features, and how many are near-duplicates."""
    for embedding_map in maps:
        if count := embedding_map.scores["duplicate_features"]:
            features = f"image{'s have' if count > 1 else ' has'} the features of another image"
            effect = (
                "separated on the map by noise only"
                if "kl" in embedding_map.scores
                else "at one position on the map"
            )
            print(f"\n{count:,} {features}: {effect}")
    if near_duplicates:
        count, first = len(near_duplicates), near_duplicates[0]
        noun = "near-duplicates" if count > 1 else "near-duplicate"
        example = f"{maps[0].feature_set.names[first.map_index]} and {first.match}"
        print(f"\n{count:,} {noun} across splits, such as {example}:\n  listed in scores.json")
