"""What `embed` leaves behind: arrays, figures, a page, and TensorBoard's projector."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.core.figure_log import Album
from cnnlab.core.files import write_json, write_text, write_whole
from cnnlab.core.tensorboard_projector import write_projector
from cnnlab.projection.grid_assignment import assigned
from cnnlab.projection.pca import components
from cnnlab.tasks.embed.images import Scene
from cnnlab.tasks.embed.near_duplicates import Twin
from cnnlab.tasks.embed.project import Map
from cnnlab.tasks.embed.summary import facts, finding, noted
from cnnlab.viz.embedding.insets import pictures_figure
from cnnlab.viz.embedding.page import Points as Pins
from cnnlab.viz.embedding.page import map_page
from cnnlab.viz.embedding.scatter import scatter_figure
from cnnlab.viz.embedding.sprites import sprite
from cnnlab.viz.embedding.thumbnails import grid_figure

AXES = 50  # principal components that the projector is given of the features


def leaves(album: Album, shown: Scene, maps: list[Map], same: list[Twin], grid: int) -> None:
    """Everything, below the album's folder: embedding.npz, scores.json, map.html, the projector, and figures."""
    first = maps[0]
    seen, flat = first.seen, first.y.cpu().numpy()
    labels, classes = seen.labels.numpy(), shown.classes
    predictions = None if seen.predictions is None else seen.predictions.numpy()
    title, note = finding(maps), noted(first)
    numbers = {"pictures": len(seen), "maps": {one.name: one.numbers for one in maps},
               "twins": [{"picture": seen.names[twin.place]} | vars(twin) for twin in same]}  # fmt: skip
    figure = scatter_figure(
        {one.name if len(maps) > 1 else "": one.y.cpu().numpy() for one in maps},
        labels,
        classes,
        mistaken=None if seen.mistaken is None else np.stack([told_wrong(one) for one in maps]),
        ringed=marked(len(seen), same),
        own=seen.own.numpy() if bool(seen.own.any()) else None,
        title=title,
        note=noted(*maps),
    )
    album.show("scatter", figure, numbers, title, noted(*maps))
    album.show("pictures", pictures_figure(flat, seen.pixels, labels, classes, predictions, title=title, note=note),
               numbers, title, note)  # fmt: skip
    lattice(album, first, grid)
    arrays(album.folder / "embedding.npz", maps, classes)
    write_json(album.folder / "scores.json", numbers)
    write_text(album.folder / "map.html", map_page(title, facts(*maps), pins(maps, classes, same)))
    project(album.folder, maps, classes)


def told_wrong(one: Map) -> np.ndarray:
    """(N,) which pictures this map's network takes for what they are not."""
    return np.zeros(len(one.seen), bool) if one.seen.mistaken is None else one.seen.mistaken.numpy()


def marked(n: int, same: list[Twin]) -> np.ndarray | None:
    """(N,) which have a twin."""
    ringed = np.zeros(n, bool)
    ringed[[twin.place for twin in same]] = True
    return ringed if same else None


def lattice(album: Album, one: Map, side: int) -> None:
    """The pictures on a square of cells, drawn evenly from all where there are more."""
    n = len(one.seen)
    side = min(side, math.isqrt(n))
    index = np.linspace(0, n - 1, side * side).round().astype(int)
    cells, moved = assigned(one.y.cpu().numpy()[index], side, side)
    few = f"{len(index):,} of {n:,} pictures" if len(index) < n else f"All {n:,} pictures"
    title = f"{few} on a grid, {moved:.2f} cells from their places on average"
    places = [
        {"picture": one.seen.names[i], "column": int(x), "row": int(y)} for i, (x, y) in zip(index, cells, strict=True)
    ]
    numbers = {"mean_displacement_cells": moved, "places": places}
    album.show("grid", grid_figure(cells, one.seen.pixels[index], title=title), numbers, title)


def arrays(path: Path, maps: list[Map], classes: tuple[str, ...]) -> None:
    """features, coordinates, labels, predictions and indices, and names, for numpy; of a second map beside them."""
    seen = maps[0].seen
    kept = {"labels": seen.labels.numpy(), "indices": seen.index.numpy(), "names": np.array(seen.names),
            "classes": np.array(classes)}  # fmt: skip
    for one, ending in zip(maps, ("", "_against"), strict=False):
        kept |= {f"features{ending}": one.seen.x.cpu().numpy(), f"coordinates{ending}": one.y.cpu().numpy()}
        if one.seen.predictions is not None:
            kept[f"predictions{ending}"] = one.seen.predictions.numpy()

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **kept)

    write_whole(path, write)


def pins(maps: list[Map], classes: tuple[str, ...], same: list[Twin]) -> Pins:
    """The first map's pictures as the page takes them, on every map."""
    one = maps[0]
    predictions, probabilities = (part if part is None else part.numpy() for part in
                                  (one.seen.predictions, one.seen.probabilities))  # fmt: skip
    return Pins(
        one.seen.pixels,
        {each.name: each.y.cpu().numpy() for each in maps},
        one.seen.names,
        one.seen.labels.numpy(),
        classes,
        predictions,
        probabilities,
        one.near.cpu().numpy(),
        {twin.place: f"nearly the same as {twin.name}" for twin in same},
    )


def project(folder: Path, maps: list[Map], classes: tuple[str, ...]) -> None:
    """For TensorBoard: the maps, and the first features on their principal axes."""
    seen = maps[0].seen
    sheet, tile = sprite(seen.pixels)
    axes = components(seen.x, min(AXES, seen.x.shape[1]))[0].cpu().numpy()
    points = {f"map of {one.name}": one.y.cpu().numpy() for one in maps} | {f"features, {axes.shape[1]} axes": axes}
    columns = {"picture": seen.names, "class": named(seen.labels, classes)}
    if seen.predictions is not None:
        columns |= {"predicted": named(seen.predictions, classes)}
    write_projector(folder, points, columns, sheet, tile)


def named(index: Any, classes: tuple[str, ...]) -> list[str]:
    return [classes[i] if i >= 0 else "" for i in index.tolist()]
