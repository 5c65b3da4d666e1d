"""Write the outputs of `embed`: arrays, figures, a page, and TensorBoard's projector."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.core.figure_log import FigureLog
from cnnlab.core.files import write_atomically, write_json, write_text
from cnnlab.core.tensorboard_projector import write_projector
from cnnlab.projection.grid_assignment import assign_to_cells, assign_to_grid
from cnnlab.projection.pca import principal_components
from cnnlab.tasks.embed.near_duplicates import NearDuplicate
from cnnlab.tasks.embed.project import EmbeddingMap
from cnnlab.tasks.embed.summary import format_map_caption, format_map_headline, list_map_facts
from cnnlab.viz.embedding.insets import draw_image_map
from cnnlab.viz.embedding.page import PagePoints, render_map_page
from cnnlab.viz.embedding.scatter import plot_embedding
from cnnlab.viz.embedding.sprites import make_projector_sprite
from cnnlab.viz.embedding.thumbnails import draw_embedding_grid

PROJECTOR_AXES = 50  # principal components of the features in the projector


def write_map_outputs(
    figure_log: FigureLog,
    maps: list[EmbeddingMap],
    classes: tuple[str, ...],
    near_duplicates: list[NearDuplicate],
    grid: int,
) -> None:
    """Write figures, embedding.npz, scores.json, map.html and the projector in the log's folder."""
    names = maps[0].feature_set.names
    numbers = {
        "images": len(names),
        "maps": {embedding_map.name: embedding_map.scores for embedding_map in maps},
        "near_duplicates": [
            {"image": names[duplicate.map_index]} | vars(duplicate) for duplicate in near_duplicates
        ],
    }
    log_scatter(figure_log, maps, classes, near_duplicates, numbers)
    log_image_map(figure_log, maps, classes, numbers)
    log_grid(figure_log, maps[0], grid)
    folder = figure_log.folder
    write_arrays(folder / "embedding.npz", maps, classes)
    write_json(folder / "scores.json", numbers)
    points = build_page_points(maps, classes, near_duplicates)
    page = render_map_page(format_map_headline(maps), list_map_facts(*maps), points)
    write_text(folder / "map.html", page)
    write_map_projector(folder, maps, classes)


def log_scatter(
    figure_log: FigureLog,
    maps: list[EmbeddingMap],
    classes: tuple[str, ...],
    near_duplicates: list[NearDuplicate],
    numbers: dict[str, Any],
) -> None:
    """Log the scatter plot of all maps."""
    features = maps[0].feature_set
    title, caption = format_map_headline(maps), format_map_caption(*maps)
    has_predictions = features.is_misclassified is not None
    figure = plot_embedding(
        {
            embedding_map.name if len(maps) > 1 else "": embedding_map.coordinates.cpu().numpy()
            for embedding_map in maps
        },
        features.labels.numpy(),
        classes,
        is_misclassified=np.stack([*map(misclassified_mask, maps)]) if has_predictions else None,
        is_near_duplicate=near_duplicate_mask(len(features), near_duplicates),
        is_user_image=features.is_user_image.numpy(),
        title=title,
        note=caption,
    )
    figure_log.log_figure("scatter", figure, numbers, title, caption)


def log_image_map(
    figure_log: FigureLog,
    maps: list[EmbeddingMap],
    classes: tuple[str, ...],
    numbers: dict[str, Any],
) -> None:
    """Log the first map drawn with its images, with enlarged insets."""
    features = maps[0].feature_set
    title, caption = format_map_headline(maps), format_map_caption(maps[0])
    figure = draw_image_map(
        maps[0].coordinates.cpu().numpy(),
        features.thumbnails,
        features.labels.numpy(),
        classes,
        to_numpy(features.predictions),
        assign=assign_to_cells,
        title=title,
        note=caption,
    )
    figure_log.log_figure("images", figure, numbers, title, caption)


def log_grid(figure_log: FigureLog, embedding_map: EmbeddingMap, side: int) -> None:
    """Log the images on a square grid, an evenly spaced sample where there are more than cells."""
    features, n = embedding_map.feature_set, len(embedding_map.feature_set)
    side = min(side, math.isqrt(n))
    index = np.linspace(0, n - 1, side * side).round().astype(int)
    cells, displacement = assign_to_grid(embedding_map.coordinates.cpu().numpy()[index], side, side)
    images = f"{len(index):,} of {n:,} images" if len(index) < n else f"All {n:,} images"
    title = f"{images} on a grid, mean displacement {displacement:.2f} cells"
    numbers = {
        "mean_displacement_cells": displacement,
        "cells": [
            {"image": features.names[i], "column": int(x), "row": int(y)}
            for i, (x, y) in zip(index, cells, strict=True)
        ],
    }
    figure = draw_embedding_grid(cells, features.thumbnails[index], title=title)
    figure_log.log_figure("grid", figure, numbers, title)


def misclassified_mask(embedding_map: EmbeddingMap) -> np.ndarray:
    """Return (N,) bool: the images that the map's network misclassifies."""
    features = embedding_map.feature_set
    if features.is_misclassified is None:
        return np.zeros(len(features), bool)
    return features.is_misclassified.numpy()


def near_duplicate_mask(n: int, near_duplicates: list[NearDuplicate]) -> np.ndarray:
    """Return (n,) bool: the images that have a near-duplicate."""
    mask = np.zeros(n, bool)
    mask[[duplicate.map_index for duplicate in near_duplicates]] = True
    return mask


def to_numpy(values: Any) -> np.ndarray | None:
    """Return a tensor as an array; None for None."""
    return None if values is None else values.numpy()


def write_arrays(path: Path, maps: list[EmbeddingMap], classes: tuple[str, ...]) -> None:
    """Write features, coordinates, labels, predictions, indices and names, of both maps, as npz."""
    features = maps[0].feature_set
    arrays = {
        "labels": features.labels.numpy(),
        "indices": features.indices.numpy(),
        "names": np.array(features.names),
        "classes": np.array(classes),
    }
    for embedding_map, suffix in zip(maps, ("", "_against"), strict=False):
        feature_set = embedding_map.feature_set
        arrays[f"features{suffix}"] = feature_set.features.cpu().numpy()
        arrays[f"coordinates{suffix}"] = embedding_map.coordinates.cpu().numpy()
        if feature_set.predictions is not None:
            arrays[f"predictions{suffix}"] = feature_set.predictions.numpy()

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def build_page_points(
    maps: list[EmbeddingMap], classes: tuple[str, ...], near_duplicates: list[NearDuplicate]
) -> PagePoints:
    """Return the images of the first map as the page takes them, on every map."""
    features = maps[0].feature_set
    return PagePoints(
        features.thumbnails,
        {embedding_map.name: embedding_map.coordinates.cpu().numpy() for embedding_map in maps},
        features.names,
        features.labels.numpy(),
        classes,
        to_numpy(features.predictions),
        to_numpy(features.probabilities),
        maps[0].neighbors.cpu().numpy(),
        {each.map_index: f"near-duplicate of {each.match}" for each in near_duplicates},
    )


def write_map_projector(folder: Path, maps: list[EmbeddingMap], classes: tuple[str, ...]) -> None:
    """Write the maps, and the first one's features on their principal axes, for TensorBoard."""
    features = maps[0].feature_set
    sheet, thumbnail_side = make_projector_sprite(features.thumbnails)
    count = min(PROJECTOR_AXES, features.features.shape[1])
    axes = principal_components(features.features, count)[0].cpu().numpy()
    points = {
        f"map of {embedding_map.name}": embedding_map.coordinates.cpu().numpy()
        for embedding_map in maps
    }
    points[f"features, {count} axes"] = axes
    columns = {"image": features.names, "class": lookup_class_names(features.labels, classes)}
    if features.predictions is not None:
        columns["predicted"] = lookup_class_names(features.predictions, classes)
    write_projector(folder, points, columns, sheet, thumbnail_side)


def lookup_class_names(index: Any, classes: tuple[str, ...]) -> list[str]:
    """Return the name of each class; empty for -1."""
    return [classes[i] if i >= 0 else "" for i in index.tolist()]
