"""`visualize top_activations`: the images that activate a layer's channels most."""

from collections import Counter
from typing import Any

import numpy as np

from cnnlab.core.errors import UsageError
from cnnlab.core.figure_log import figure_name
from cnnlab.data.dataset import gather_images
from cnnlab.interpret.top_activations import TopActivations
from cnnlab.models.receptive_field import ReceptiveField
from cnnlab.tasks.visualize.context import MAX_TOP_IMAGES, NothingToShow, RunContext
from cnnlab.viz.image_grid import GridCell, draw_image_grid

DIM_FRACTION = 0.75  # how far pixels outside the receptive field are taken toward gray


def visualize_top_activations(
    context: RunContext, *, layer: str | None, channels: int, images_per_channel: int
) -> None:
    """Log the top-activating images of a layer's channels, all but the receptive field dimmed."""
    if channels < 1 or not 1 <= images_per_channel <= MAX_TOP_IMAGES:
        raise UsageError(
            "top_activations: channels must be at least 1 and images_per_channel 1 to "
            f"{MAX_TOP_IMAGES}, not "
            f"{channels} and {images_per_channel}"
        )
    name = select_layer(context, layer)
    top, field = context.split_activations.top_activations[name], context.receptive_fields[name]
    rows = [
        list_top_images(context, top, k, images_per_channel) for k in range(top.values.shape[1])
    ]
    alive = [row for row in rows if row["images"]]
    if not alive:
        raise NothingToShow(f"no channel of {name} is above zero for any image")
    shown = alive[:channels]
    kind, total, dead = context.get_unit_kind(name), len(rows), len(rows) - len(alive)
    title = (
        f"Top-activating images of {name}: the first {len(shown)} of {total} {kind}s, the highest "
        "of "
        f"{context.num_images_text} images"
    )
    is_dead = f"{dead} of {total} {kind}s are dead" if dead else f"No {kind} is dead"
    note = (
        "At full brightness: the unit's receptive field. Below: its activation, and the image's "
        "label. "
        f"{is_dead}."
    )
    figure = draw_image_grid(
        make_channel_rows(context, shown, field),
        title,
        row_labels=[f"#{row['channel']}\n{format_majority_class(row)}" for row in shown],
        note=note,
        cell_inches=0.8,
    )
    numbers = {"layer": name, "channels": rows}
    stem = figure_name("top_activations", name)
    context.figure_log.log_figure(stem, figure, numbers, title, note)


def select_layer(context: RunContext, layer: str | None) -> str:
    """Return the layer that is named, or the last one with maps."""
    where = "top_activations.layer"
    name = context.check_layer_name(layer, where) if layer else context.last_spatial_block
    if name is None:
        raise NothingToShow(
            "no layer of this network has maps; choose one without: "
            f"{where}={context.first_unit_block}"
        )
    if name not in context.split_activations.top_activations:
        raise UsageError(f"{where}: {name} gives no maps or units of its own")
    return name


def list_top_images(context: RunContext, top: TopActivations, k: int, most: int) -> dict[str, Any]:
    """Return a channel's top-activating images as numbers; none where it is dead."""
    parts = (top.values, top.image_indices, top.rows, top.columns)
    columns = zip(*(part[:most, k].tolist() for part in parts), strict=True)
    labels = context.images.labels.cpu()
    images = [
        {
            "value": value,
            "index": int(index),
            "row": int(row),
            "column": int(column),
            "class": context.classes[int(labels[int(index)])],
        }
        for value, index, row, column in columns
        if value > 0
    ]
    return {"channel": k, "images": images}


def format_majority_class(row: dict[str, Any]) -> str:
    """Return which class most of a channel's images are of."""
    classes = [image["class"] for image in row["images"]]
    name, count = Counter(classes).most_common(1)[0]
    return f"{count} of {len(classes)} are {name}"


def make_channel_rows(
    context: RunContext, channels: list[dict[str, Any]], field: ReceptiveField
) -> list[list[GridCell]]:
    """Return a row of cells for each channel."""
    indices = [image["index"] for channel in channels for image in channel["images"]]
    pixels = iter(context.render_input(gather_images(context.images, indices)))
    return [
        [make_top_image_cell(next(pixels), image, field) for image in channel["images"]]
        for channel in channels
    ]


def make_top_image_cell(
    pixels: np.ndarray, image: dict[str, Any], field: ReceptiveField
) -> GridCell:
    """Return an (H, W, C) uint8 image with all but the unit's receptive field dimmed."""
    height, width = pixels.shape[:2]
    top, bottom, left, right = field.clip_window(image["row"], image["column"], height, width)
    mask = np.full((height, width, 1), DIM_FRACTION)
    mask[top:bottom, left:right] = 0
    dimmed = (pixels * (1 - mask) + 128 * mask).round().astype(np.uint8)
    return GridCell(dimmed, f"{image['value']:.3g}\n{image['class']}")
