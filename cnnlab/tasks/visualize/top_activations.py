"""`visualize top_activations`: what makes a layer's channels answer most, in real pictures."""

from collections import Counter
from typing import Any

import numpy as np

from cnnlab.core.errors import UsageError
from cnnlab.data.dataset import gather_images
from cnnlab.interpret.top_activations import TopActivations
from cnnlab.models.receptive_field import ReceptiveField
from cnnlab.tasks.visualize.context import MAX_TOP_IMAGES, NothingToShow, RunContext
from cnnlab.viz.image_grid import GridCell, draw_image_grid

DIM_FRACTION = 0.75  # how far what a unit cannot see is taken towards grey


def visualize_top_activations(
    look: RunContext, *, layer: str | None, channels: int, images_per_channel: int
) -> None:
    """For a layer's channels the pictures that excite them most, all but the patch that the unit sees dimmed."""
    if channels < 1 or not 1 <= images_per_channel <= MAX_TOP_IMAGES:
        raise UsageError(
            f"top_activations: channels must be at least 1 and images_per_channel 1 to {MAX_TOP_IMAGES}, not {channels} and {images_per_channel}"
        )
    name = look.check_layer_name(layer, "top_activations.layer") if layer else look.last_spatial_block
    if name is None:
        raise NothingToShow(
            "no layer of this network has maps; name another, e.g. top_activations.layer=fc_1"
        )
    if name not in look.split_activations.top_activations:
        raise UsageError(f"top_activations.layer: {name} gives no maps or units of its own")
    peaks, field = look.split_activations.top_activations[name], look.receptive_fields[name]
    rows = [
        list_top_images(look, peaks, k, images_per_channel) for k in range(peaks.values.shape[1])
    ]
    alive = [row for row in rows if row["pictures"]][:channels]
    if not alive:
        raise NothingToShow(f"no channel of {name} is above zero for any picture")
    labels = [f"#{row['channel']}\n{format_majority_class(row)}" for row in alive]
    every = [one for row in alive for one in row["pictures"]]
    seen = iter(look.render_input(gather_images(look.images, [one["index"] for one in every])))
    cells = [
        [make_top_image_cell(next(seen), one, field) for one in row["pictures"]] for row in alive
    ]
    dead, total = sum(not row["pictures"] for row in rows), len(rows)
    kind = "channel" if len(look.output_shapes[name]) == 3 else "unit"
    title = f"What excites {name}: the first {len(alive)} of {total} {kind}s, the best of {look.num_images_text} pictures"
    silent = (
        f"{dead} of {total} {kind}s are above zero for no picture" if dead else f"No {kind} is dead"
    )
    note = f"In full light: what the unit sees of the picture. Below: its value, and what the picture is. {silent}."
    figure = draw_image_grid(cells, title, row_labels=labels, note=note, cell_inches=0.8)
    look.figure_log.log_figure(
        f"top_activations_{name.replace('.', '_')}", figure, {"layer": name, "channels": rows}, title, note
    )


def list_top_images(look: RunContext, peaks: TopActivations, k: int, most: int) -> dict[str, Any]:
    """The pictures that excite a channel most, as numbers; none where it is dead."""
    names = [
        look.classes[i]
        for i in look.images.labels.cpu()[peaks.image_indices[:most, k].long().cpu()].tolist()
    ]
    columns = [
        part[:most, k].tolist()
        for part in (peaks.values, peaks.image_indices, peaks.rows, peaks.columns)
    ]
    found = [
        {"value": value, "index": int(index), "row": int(row), "column": int(column), "class": name}
        for value, index, row, column, name in zip(*columns, names, strict=True)
        if value > 0
    ]
    return {"channel": k, "pictures": found}


def format_majority_class(row: dict[str, Any]) -> str:
    """Which class most of a channel's pictures are of."""
    name, count = Counter(one["class"] for one in row["pictures"]).most_common(1)[0]
    return f"{count} of {len(row['pictures'])} are {name}"


def make_top_image_cell(
    picture: np.ndarray, one: dict[str, Any], field: ReceptiveField
) -> GridCell:
    """An (H, W, C) uint8 picture in which only what the unit sees has its full light."""
    height, width = picture.shape[:2]
    top, bottom, left, right = field.clip_window(one["row"], one["column"], height, width)
    mask = np.full((height, width, 1), DIM_FRACTION)
    mask[top:bottom, left:right] = 0
    dimmed = (picture * (1 - mask) + 128 * mask).round().astype(np.uint8)
    return GridCell(dimmed, f"{one['value']:.3g}\n{one['class']}")
