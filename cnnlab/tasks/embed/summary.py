"""Whether to believe a map, in words."""

import json
from typing import Any

from cnnlab.core.figure_log import FigureLog
from cnnlab.core.quoting import printable
from cnnlab.tasks.embed.near_duplicates import NearDuplicate
from cnnlab.tasks.embed.project import EmbeddingMap


def format_map_headline(maps: list[EmbeddingMap]) -> str:
    """What the maps show, in a line."""
    seen, k = maps[0].feature_set, maps[0].scores["neighbours"]
    n = int((seen.labels >= 0).sum())
    of = f"{n:,} pictures" if n == len(seen) else f"{n:,} pictures whose class is known"
    right = [one.scores["map"]["knn_accuracy"] for one in maps]
    if None in right:
        return f"{len(seen):,} pictures: {maps[0].scores['neighbours_kept']:.0%} of their {k} nearest are so on the map"
    if len(maps) > 1:
        each = ", ".join(f"{one.name} {share:.2%}" for one, share in zip(maps, right, strict=True))
        return f"Among their own class on the map, of {of}: {each}"
    return f"{right[0]:.2%} of {of} lie among their own class on the map"


def format_map_caption(one: EmbeddingMap, other: EmbeddingMap | None = None) -> str:
    """What stands at a figure's foot."""
    if other is not None:
        n = other.scores
        began = f" began where {one.name}'s ended and" if "kl" in n else ""
        over = "it" if began else f"{one.name}'s"
        return (
            f"{other.name}'s map{began} is laid over {over}; of {n['neighbours']} nearest "
            f"{n['features_shared']:.1%} are the same for both among the features, {n['map_shared']:.1%} on the map."
        )
    n, how = one.scores, "t-SNE" if "kl" in one.scores else "The first two principal components"
    right = n["features"]["knn_accuracy"]
    among = (
        ""
        if right is None
        else f" There {right:.2%} are of the class of most of their {n['neighbours']} nearest."
    )
    return (
        f"{how} of {one.feature_set.features.shape[1]:,} numbers of each picture, {one.feature_source}.{among} "
        f"{n['neighbours_kept']:.0%} of a picture's {n['neighbours']} nearest are so on the map."
    )


def list_map_facts(one: EmbeddingMap, *others: EmbeddingMap) -> list[str]:
    """What is said of a map beside it: what it is of, whose answers it shows where there are `others`, and the
    numbers."""
    rows = [f"{one.feature_set.features.shape[1]:,} numbers of each picture: {one.feature_source}"]
    rows += [f"Predictions, neighbours and numbers are {one.name}'s, on every map"] * bool(others)
    both = "{}: {} among the features, {} on the map"
    return rows + [
        both.format(what, a, b) if a and b else f"{what}: {a or b}"
        for what, a, b in build_score_rows(one)
    ]


def build_score_rows(one: EmbeddingMap) -> list[tuple[str, str, str]]:
    """What is said, of the features and of the map, in words; empty where it is said of the other alone."""
    n, k = one.scores, one.scores["neighbours"]
    rows = [
        (f"same class as most of {k} nearest", *format_score_pair(n, "knn_accuracy", "{:.2%}")),
        ("silhouette of the classes", *format_score_pair(n, "silhouette", "{:.3f}")),
        ("trustworthiness", "", n["trustworthiness"] and f"{n['trustworthiness']:.4f}"),
        (f"of {k} nearest, nearest on the map too", "", f"{n['neighbours_kept']:.1%}"),
        (
            f"of {k} nearest on the map, so by another seed",
            "",
            ", ".join(f"{share:.1%}" for share in n.get("steadiness", [])),
        ),
        ("KL divergence", "", f"{n['kl']:.4f}" if "kl" in n else ""),
        ("variance on the two axes", "", f"{n['variance']:.1%}" if "variance" in n else ""),
    ]
    return [(what, a or "", b or "") for what, a, b in rows if a or b]


def format_score_pair(numbers: dict[str, Any], name: str, form: str) -> list[str]:
    return [
        "" if (value := numbers[side][name]) is None else form.format(value)
        for side in ("features", "map")
    ]


def print_map_summary(
    album: FigureLog, maps: list[EmbeddingMap], same: list[NearDuplicate], *, as_json: bool
) -> None:
    """The numbers for a terminal of 80 columns and where all is; or as JSON."""
    place = album.folder
    if as_json:
        print(json.dumps(album.figures[0].numbers | {"folder": str(place)}))
        return
    for one in maps:
        print(
            f"\n{printable(one.name)[:40] if len(maps) > 1 else '':<44}{'features':>12}{'map':>12}"
        )
        print("\n".join(f"{what:<44}{a:>12}{b:>12}" for what, a, b in build_score_rows(one)))
    if len(maps) > 1:
        n = maps[1].scores
        print(
            f"\nof {n['neighbours']} nearest, the same for both{n['features_shared']:>17.1%}{n['map_shared']:>12.1%}"
        )
        print(f"left between the maps once laid on each other{n['residual']:>23.1%}")
    for one in maps:
        if again := one.scores["repeated"]:
            parted = (
                "noise alone parts them on the map"
                if "kl" in one.scores
                else "they lie on one place"
            )
            print(f"\n{again:,} have exactly another's features: {parted}")
    if same:
        pair = f"{maps[0].feature_set.names[same[0].map_index]} as {same[0].match}"
        print(f"\n{len(same):,} are nearly in the other set, {pair}: listed in scores.json")
    print(f"\n{place}")
    print("  map.html          to pan, zoom and search, in any browser")
    for figure in album.figures:
        print(f"  figures/{figure.name}.png")
    print("  embedding.npz     features, coordinates, labels, predictions")
    print(f"look at it  tensorboard --logdir {place}   (PROJECTOR)")
