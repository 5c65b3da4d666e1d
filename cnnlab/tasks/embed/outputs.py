"""What `embed` leaves behind: arrays, figures, a page, and TensorBoard's projector."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.core.figure_log import FigureLog
from cnnlab.core.files import write_atomically, write_json, write_text
from cnnlab.core.tensorboard_projector import write_projector
from cnnlab.projection.grid_assignment import assign_to_grid
from cnnlab.projection.pca import principal_components
from cnnlab.tasks.embed.images import ImageSelection
from cnnlab.tasks.embed.near_duplicates import NearDuplicate
from cnnlab.tasks.embed.project import EmbeddingMap
from cnnlab.tasks.embed.summary import format_map_caption, format_map_headline, list_map_facts
from cnnlab.viz.embedding.insets import draw_image_map
from cnnlab.viz.embedding.page import PagePoints as Pins
from cnnlab.viz.embedding.page import render_map_page
from cnnlab.viz.embedding.scatter import plot_embedding
from cnnlab.viz.embedding.sprites import make_projector_sprite
from cnnlab.viz.embedding.thumbnails import draw_embedding_grid

PROJECTOR_AXES = 50  # principal components that the projector is given of the features


def write_map_outputs(
    album: FigureLog,
    shown: ImageSelection,
    maps: list[EmbeddingMap],
    same: list[NearDuplicate],
    grid: int,
) -> None:
    """Everything, below the album's folder: embedding.npz, scores.json, map.html, the projector, and figures."""
    first = maps[0]
    seen, flat = first.feature_set, first.coordinates.cpu().numpy()
    labels, classes = seen.labels.numpy(), shown.classes
    predictions = None if seen.predictions is None else seen.predictions.numpy()
    title, note = format_map_headline(maps), format_map_caption(first)
    numbers = {"pictures": len(seen), "maps": {one.name: one.scores for one in maps},
               "twins": [{"picture": seen.names[twin.map_index]} | vars(twin) for twin in same]}  # fmt: skip
    figure = plot_embedding(
        {one.name if len(maps) > 1 else "": one.coordinates.cpu().numpy() for one in maps},
        labels,
        classes,
        is_misclassified=None
        if seen.is_misclassified is None
        else np.stack([misclassified_mask(one) for one in maps]),
        is_near_duplicate=near_duplicate_mask(len(seen), same),
        is_user_image=seen.is_user_image.numpy() if bool(seen.is_user_image.any()) else None,
        title=title,
        note=format_map_caption(*maps),
    )
    album.log_figure("scatter", figure, numbers, title, format_map_caption(*maps))
    album.log_figure("pictures", draw_image_map(flat, seen.thumbnails, labels, classes, predictions, title=title, note=note),
               numbers, title, note)  # fmt: skip
    log_grid(album, first, grid)
    write_arrays(album.folder / "embedding.npz", maps, classes)
    write_json(album.folder / "scores.json", numbers)
    write_text(
        album.folder / "map.html",
        render_map_page(title, list_map_facts(*maps), build_page_points(maps, classes, same)),
    )
    write_map_projector(album.folder, maps, classes)


def misclassified_mask(one: EmbeddingMap) -> np.ndarray:
    """(N,) which pictures this map's network takes for what they are not."""
    return (
        np.zeros(len(one.feature_set), bool)
        if one.feature_set.is_misclassified is None
        else one.feature_set.is_misclassified.numpy()
    )


def near_duplicate_mask(n: int, same: list[NearDuplicate]) -> np.ndarray | None:
    """(N,) which have a twin."""
    ringed = np.zeros(n, bool)
    ringed[[twin.map_index for twin in same]] = True
    return ringed if same else None


def log_grid(album: FigureLog, one: EmbeddingMap, side: int) -> None:
    """The pictures on a square of cells, drawn evenly from all where there are more."""
    n = len(one.feature_set)
    side = min(side, math.isqrt(n))
    index = np.linspace(0, n - 1, side * side).round().astype(int)
    cells, moved = assign_to_grid(one.coordinates.cpu().numpy()[index], side, side)
    few = f"{len(index):,} of {n:,} pictures" if len(index) < n else f"All {n:,} pictures"
    title = f"{few} on a grid, {moved:.2f} cells from their places on average"
    places = [
        {"picture": one.feature_set.names[i], "column": int(x), "row": int(y)}
        for i, (x, y) in zip(index, cells, strict=True)
    ]
    numbers = {"mean_displacement_cells": moved, "places": places}
    album.log_figure(
        "grid",
        draw_embedding_grid(cells, one.feature_set.thumbnails[index], title=title),
        numbers,
        title,
    )


def write_arrays(path: Path, maps: list[EmbeddingMap], classes: tuple[str, ...]) -> None:
    """features, coordinates, labels, predictions and indices, and names, for numpy; of a second map beside them."""
    seen = maps[0].feature_set
    kept = {"labels": seen.labels.numpy(), "indices": seen.indices.numpy(), "names": np.array(seen.names),
            "classes": np.array(classes)}  # fmt: skip
    for one, ending in zip(maps, ("", "_against"), strict=False):
        kept |= {
            f"features{ending}": one.feature_set.features.cpu().numpy(),
            f"coordinates{ending}": one.coordinates.cpu().numpy(),
        }
        if one.feature_set.predictions is not None:
            kept[f"predictions{ending}"] = one.feature_set.predictions.numpy()

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **kept)

    write_atomically(path, write)


def build_page_points(
    maps: list[EmbeddingMap], classes: tuple[str, ...], same: list[NearDuplicate]
) -> Pins:
    """The first map's pictures as the page takes them, on every map."""
    one = maps[0]
    predictions, probabilities = (part if part is None else part.numpy() for part in
                                  (one.feature_set.predictions, one.feature_set.probabilities))  # fmt: skip
    return Pins(
        one.feature_set.thumbnails,
        {each.name: each.coordinates.cpu().numpy() for each in maps},
        one.feature_set.names,
        one.feature_set.labels.numpy(),
        classes,
        predictions,
        probabilities,
        one.neighbors.cpu().numpy(),
        {twin.map_index: f"nearly the same as {twin.match}" for twin in same},
    )


def write_map_projector(folder: Path, maps: list[EmbeddingMap], classes: tuple[str, ...]) -> None:
    """For TensorBoard: the maps, and the first features on their principal axes."""
    seen = maps[0].feature_set
    sheet, tile = make_projector_sprite(seen.thumbnails)
    axes = (
        principal_components(seen.features, min(PROJECTOR_AXES, seen.features.shape[1]))[0]
        .cpu()
        .numpy()
    )
    points = {f"map of {one.name}": one.coordinates.cpu().numpy() for one in maps} | {
        f"features, {axes.shape[1]} axes": axes
    }
    columns = {"picture": seen.names, "class": lookup_class_names(seen.labels, classes)}
    if seen.predictions is not None:
        columns |= {"predicted": lookup_class_names(seen.predictions, classes)}
    write_projector(folder, points, columns, sheet, tile)


def lookup_class_names(index: Any, classes: tuple[str, ...]) -> list[str]:
    return [classes[i] if i >= 0 else "" for i in index.tolist()]
