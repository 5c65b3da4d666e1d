"""`visualize feature_maps`: an image's maps in each layer of the network."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.hooks import capture_outputs
from cnnlab.tasks.visualize.context import RunContext, SelectedImage
from cnnlab.viz.image_grid import GridCell, draw_image_grid

FEATURE_MAPS_NOTE = (
    "Black is zero, light is high, or, where some values are negative, blue and red; each map is "
    "scaled to its own "
    "largest. #: the channel, those with the highest mean first. Active: channels above zero "
    "somewhere, or units."
)


def visualize_feature_maps(
    context: RunContext,
    *,
    layers: list[str] | None,
    channels: int,
    filters: list[str],
    threshold: float,
) -> None:
    """Log a figure for each image: its maps in each layer, those with the highest mean first."""
    if channels < 1:
        raise UsageError(f"feature_maps.channels must be at least 1, not {channels}")
    if layers:
        names = [context.check_layer_name(name, "feature_maps.layers") for name in layers]
    else:
        names = context.block_names[:-1]
    for number, image in enumerate(context.choose_images(2)):
        log_feature_maps(context, image, names, channels, number)


def log_feature_maps(
    context: RunContext, image: SelectedImage, names: list[str], channels: int, number: int
) -> None:
    """Log the figure of one image."""
    pixels = image.pixels.unsqueeze(0)
    with torch.inference_mode():
        outputs = capture_outputs(context.model, context.prepare_input(pixels), names)
    rows, labels = [[GridCell(context.render_input(pixels)[0])]], ["the image"]
    layers: dict[str, Any] = {}
    for name, output in outputs.items():
        values = output[0].float().cpu()
        active = compute_active_fraction(values)
        rows.append(make_layer_cells(values, channels))
        labels.append(f"{name}\n{format_output_shape(values)}\n{active:.0%} active")
        layers[name] = {
            "shape": list(values.shape),
            "active_fraction": active,
            "mean": float(values.mean()),
        }
    probabilities = context.predict_probabilities(image.pixels)
    title = f"Feature maps of {image.title}: {context.format_prediction(image, probabilities)}"
    numbers = {
        "image": image.name,
        "probabilities": context.label_probabilities(probabilities),
        "layers": layers,
    }
    figure = draw_image_grid(
        rows, title, row_labels=labels, note=FEATURE_MAPS_NOTE, cell_inches=0.72
    )
    context.figure_log.log_figure(
        f"feature_maps_{number}", figure, numbers, title, FEATURE_MAPS_NOTE
    )


def compute_active_fraction(values: Tensor) -> float:
    """Return the fraction of (K, h, w) channels that are above zero somewhere, or of (K,) units
    above zero."""
    active = (values.flatten(1) > 0).any(1) if values.ndim == 3 else values > 0
    return float(active.double().mean())


def format_output_shape(values: Tensor) -> str:
    """Return height x width x depth of (K, h, w) maps, or the number of (K,) units."""
    if values.ndim == 3:
        return "x".join(map(str, (*values.shape[1:], len(values))))
    return f"{len(values):,} units"


def make_layer_cells(values: Tensor, channels: int) -> list[GridCell]:
    """Return the cells of a layer's (K, h, w) maps or (K,) units."""
    return (
        make_feature_map_cells(values, channels) if values.ndim == 3 else [make_units_cell(values)]
    )


def make_feature_map_cells(maps: Tensor, most: int) -> list[GridCell]:
    """Return the `most` of (K, h, w) maps with the highest mean, largest first, as cells."""
    order = maps.mean((1, 2)).argsort(descending=True, stable=True)[:most].tolist()
    if bool((maps < 0).any()):
        return [GridCell(maps[k].numpy(), f"#{k}", "signed") for k in order]
    return [GridCell(maps[k].numpy(), f"#{k}", "heat") for k in order]


def make_units_cell(values: Tensor) -> GridCell:
    """Return (K,) units in rows, as near to a square as possible, as one cell."""
    columns = math.ceil(math.sqrt(len(values)))
    padded = F.pad(values, (0, -len(values) % columns)).view(-1, columns).numpy()
    return GridCell(padded, kind="signed" if bool((values < 0).any()) else "heat")
