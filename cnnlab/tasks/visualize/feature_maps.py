"""`visualize feature_maps`: a picture on its way through the network; or under filters written by hand, as in figures 5-5
and 5-6."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.hooks import capture_outputs
from cnnlab.tasks.visualize.context import RunContext, SelectedImage
from cnnlab.viz.image_grid import GridCell, draw_image_grid


def visualize_feature_maps(
    look: RunContext,
    *,
    layers: list[str] | None,
    channels: int,
    filters: list[str],
    threshold: float,
) -> None:
    """For each picture a figure: its maps in each layer, those with the highest mean first."""
    if channels < 1:
        raise UsageError(f"feature_maps.channels must be at least 1, not {channels}")
    names = (
        [look.check_layer_name(name, "feature_maps.layers") for name in layers]
        if layers
        else look.block_names[:-1]
    )
    for number, subject in enumerate(look.choose_images(2)):
        log_feature_maps(look, subject, names, channels, number)


def log_feature_maps(
    look: RunContext, subject: SelectedImage, names: list[str], channels: int, number: int
) -> None:
    with torch.inference_mode():
        found = capture_outputs(look.model, look.prepare_input(subject.pixels.unsqueeze(0)), names)
    rows, labels, numbers = (
        [[GridCell(look.render_input(subject.pixels.unsqueeze(0))[0])]],
        ["the picture"],
        dict[str, Any](),
    )
    for name, out in found.items():
        maps = out[0].float().cpu()
        cells = (
            make_feature_map_cells(maps, channels) if maps.ndim == 3 else [make_units_cell(maps)]
        )
        rows.append(cells)
        shape = (
            "x".join(map(str, (*maps.shape[1:], len(maps))))
            if maps.ndim == 3
            else f"{len(maps):,} units"
        )
        alive = (
            float((maps.flatten(1) > 0).any(1).double().mean())
            if maps.ndim == 3
            else float((maps > 0).double().mean())
        )
        labels.append(f"{name}\n{shape}\n{alive:.0%} at work")
        numbers[name] = {"shape": list(maps.shape), "at_work": alive, "mean": float(maps.mean())}
    answer = look.predict_probabilities(subject.pixels)
    said = look.format_prediction(subject, answer)
    title = f"{subject.title} on its way through the network: {said}"
    note = (
        "Black is zero, light is high, or, where some are below zero, blue and red; each map to its own largest. "
        "#: the channel, those with the highest mean first. At work: channels that are above zero somewhere, or units."
    )
    about = {
        "picture": subject.name,
        "probabilities": look.label_probabilities(answer),
        "layers": numbers,
    }
    figure = draw_image_grid(rows, title, row_labels=labels, note=note, cell_inches=0.72)
    look.figure_log.log_figure(f"feature_maps_{number}", figure, about, title, note)


def make_feature_map_cells(maps: Tensor, most: int) -> list[GridCell]:
    """(K, h, w) -> the `most` maps with the highest mean, largest first."""
    order = maps.mean((1, 2)).argsort(descending=True, stable=True)[:most].tolist()
    if bool((maps < 0).any()):
        return [GridCell(maps[k].numpy(), f"#{k}", "signed") for k in order]
    return [GridCell(maps[k].numpy(), f"#{k}", "heat") for k in order]


def make_units_cell(values: Tensor) -> GridCell:
    """(K,) -> the units in rows, as near to a square as they go."""
    across = math.ceil(math.sqrt(len(values)))
    padded = F.pad(values, (0, -len(values) % across)).view(-1, across).numpy()
    return GridCell(padded, kind="signed" if bool((values < 0).any()) else "heat")
