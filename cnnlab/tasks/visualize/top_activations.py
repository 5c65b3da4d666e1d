"""`visualize exciting`: what makes a layer's channels answer most, in real pictures."""

from collections import Counter
from typing import Any

import numpy as np

from cnnlab.core.errors import UsageError
from cnnlab.data.dataset import some
from cnnlab.interpret.top_activations import Peaks
from cnnlab.models.receptive_field import Field
from cnnlab.tasks.visualize.context import KEPT, Look, NothingToShow
from cnnlab.viz.image_grid import Cell, cells_figure

DIMMED = 0.75  # how far what a unit cannot see is taken towards grey


def exciting(look: Look, *, layer: str | None, channels: int, best: int) -> None:
    """For a layer's channels the pictures that excite them most, all but the patch that the unit sees dimmed."""
    if channels < 1 or not 1 <= best <= KEPT:
        raise UsageError(f"exciting: channels must be at least 1 and best 1 to {KEPT}, not {channels} and {best}")
    name = look.checked(layer, "exciting.layer") if layer else look.last_maps
    if name is None:
        raise NothingToShow("no layer of this network has maps; name another, e.g. exciting.layer=fc_1")
    if name not in look.survey.peaks:
        raise UsageError(f"exciting.layer: {name} gives no maps or units of its own")
    peaks, field = look.survey.peaks[name], look.fields[name]
    rows = [channel(look, peaks, k, best) for k in range(peaks.value.shape[1])]
    alive = [row for row in rows if row["pictures"]][:channels]
    if not alive:
        raise NothingToShow(f"no channel of {name} is above zero for any picture")
    labels = [f"#{row['channel']}\n{told(row)}" for row in alive]
    every = [one for row in alive for one in row["pictures"]]
    seen = iter(look.visible(some(look.pictures, [one["index"] for one in every])))
    cells = [[cell(next(seen), one, field) for one in row["pictures"]] for row in alive]
    dead, total = sum(not row["pictures"] for row in rows), len(rows)
    kind = "channel" if len(look.sizes[name]) == 3 else "unit"
    title = f"What excites {name}: the first {len(alive)} of {total} {kind}s, the best of {look.survey_size} pictures"
    silent = f"{dead} of {total} {kind}s are above zero for no picture" if dead else f"No {kind} is dead"
    note = f"In full light: what the unit sees of the picture. Below: its value, and what the picture is. {silent}."
    figure = cells_figure(cells, title, row_labels=labels, note=note, inches=0.8)
    look.album.show(f"exciting_{name.replace('.', '_')}", figure, {"layer": name, "channels": rows}, title, note)


def channel(look: Look, peaks: Peaks, k: int, most: int) -> dict[str, Any]:
    """The pictures that excite a channel most, as numbers; none where it is dead."""
    names = [look.classes[i] for i in look.pictures.labels.cpu()[peaks.picture[:most, k].long().cpu()].tolist()]
    columns = [part[:most, k].tolist() for part in (peaks.value, peaks.picture, peaks.row, peaks.column)]
    found = [
        {"value": value, "index": int(index), "row": int(row), "column": int(column), "class": name}
        for value, index, row, column, name in zip(*columns, names, strict=True)
        if value > 0
    ]
    return {"channel": k, "pictures": found}


def told(row: dict[str, Any]) -> str:
    """Which class most of a channel's pictures are of."""
    name, count = Counter(one["class"] for one in row["pictures"]).most_common(1)[0]
    return f"{count} of {len(row['pictures'])} are {name}"


def cell(picture: np.ndarray, one: dict[str, Any], field: Field) -> Cell:
    """An (H, W, C) uint8 picture in which only what the unit sees has its full light."""
    height, width = picture.shape[:2]
    top, bottom, left, right = field.window(one["row"], one["column"], height, width)
    mask = np.full((height, width, 1), DIMMED)
    mask[top:bottom, left:right] = 0
    dimmed = (picture * (1 - mask) + 128 * mask).round().astype(np.uint8)
    return Cell(dimmed, f"{one['value']:.3g}\n{one['class']}")
