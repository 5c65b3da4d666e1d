"""`visualize filters`: the weights themselves, as in the chapter's figure 5-18, and how training
changed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.core.array_file import read_npy
from cnnlab.core.errors import CnnlabError, UsageError, summarize_error
from cnnlab.core.figure_log import figure_name
from cnnlab.core.hooks import find_first_weighted_layer, get_first_layer_weights, get_layer
from cnnlab.interpret.filter_structure import (
    is_structured,
    noise_autocorrelation,
    noise_p_values,
    spatial_autocorrelation,
)
from cnnlab.tasks.visualize.context import NothingToShow, RunContext
from cnnlab.viz.base import GRAY, ORANGE
from cnnlab.viz.image_grid import GridCell, draw_image_grid
from cnnlab.viz.weight_images import weights_to_image

FILTER_COLUMNS = 12  # cells in a row
MAX_DEEP_FILTERS, MAX_DEEP_CHANNELS = (
    16,
    16,
)  # shown of filters that are not on one or three channels
MAX_HISTORY_FILTERS = 14  # filters in a row of the history


def visualize_filters(
    context: RunContext, *, layer: str | None, max_filters: int, epochs: int
) -> None:
    """Log the first layer's filters and their history, or the filters of the convolution that is
    named."""
    if max_filters < 1 or epochs < 2:
        raise UsageError(
            "filters: max_filters must be at least 1 and epochs at least 2, not "
            f"{max_filters} and {epochs}"
        )
    if layer is not None:
        log_filter_sheet(context, *find_convolution(context, layer), max_filters)
        return
    name = find_first_weighted_layer(context.model)
    weights = get_first_layer_weights(context.model, context.input_shape)
    if name is None or weights is None:
        kind = context.trained.config["model"]["name"]
        raise NothingToShow(f"the first layer of {kind} has no learned filters on the image itself")
    log_filter_sheet(context, name, weights, max_filters)
    log_filter_history(context, epochs)


def find_convolution(context: RunContext, name: str) -> tuple[str, Tensor]:
    """Return a convolution's name and weights, given its name or its block's. Raises UsageError
    with those there are."""
    context.check_layer_name(name, "filters.layer")
    convolutions = {
        path: module
        for path, module in context.model.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    inside = [path for path in convolutions if path == name or path.startswith(f"{name}.")]
    if not inside:
        raise UsageError(
            f"filters.layer: {name} has no convolution; {', '.join(convolutions) or 'nothing'} has"
        )
    return inside[0], convolutions[inside[0]].weight


@dataclass(frozen=True)
class FilterMeasures:
    """Of each of K filters: its structure, the p-value against noise, and whether it stands out and
    is dead."""

    spatial_autocorrelation: list[float]
    noise_p_value: list[float] | None
    is_structured: list[bool]
    is_dead: list[bool]

    @property
    def captions(self) -> list[str]:
        return [
            f"{value:.2f}" + (" dead" if dead else "")
            for value, dead in zip(self.spatial_autocorrelation, self.is_dead, strict=True)
        ]

    @property
    def frame_colors(self) -> list[str | None]:
        pairs = zip(self.is_structured, self.is_dead, strict=True)
        return [ORANGE if dead else None if structured else GRAY for structured, dead in pairs]


def measure_filters(context: RunContext, name: str, weights: Tensor) -> FilterMeasures:
    """Measure (K, C, e, e) filters. Those of one pixel have no structure to measure."""
    count = len(weights)
    dead = list_dead_filters(context, name, count)
    if not has_neighbors(weights):
        return FilterMeasures([0.0] * count, None, [False] * count, dead)
    return FilterMeasures(
        spatial_autocorrelation(weights).tolist(),
        noise_p_values(weights).tolist(),
        list_structured(weights),
        dead,
    )


def has_neighbors(weights: Tensor) -> bool:
    """Return whether filters have more than one pixel."""
    return weights[0, 0].numel() > 1


def list_structured(weights: Tensor) -> list[bool]:
    """Return which filters stand out from noise; of one pixel, none can."""
    return is_structured(weights).tolist() if has_neighbors(weights) else [False] * len(weights)


def log_filter_sheet(context: RunContext, name: str, weights: Tensor, most: int) -> None:
    """Log a figure of every filter, whether it stands out from noise, and whether it is dead."""
    weights = weights.detach().float().cpu()
    measures = measure_filters(context, name, weights)
    evaluated_on = f"{len(context.images):,} {context.settings.split} images"
    title = (
        f"{name}: {sum(measures.is_structured)} of {len(weights)} filters stand out from noise, "
        f"{sum(measures.is_dead)} are dead"
    )
    rows, labels = make_filter_cells(weights, measures.captions, measures.frame_colors, most)
    note = (
        f"Number: spatial autocorrelation of the weights, at most 1{format_noise_median(weights)}. "
        "Gray frame: not distinguished from noise (false discovery rate 5 %). "
        f"Orange frame: above zero for none of {evaluated_on}."
    )
    if labels and (len(labels), len(rows[0])) != tuple(weights.shape[:2]):
        channels = f"the first {len(rows[0])} of {weights.shape[1]} channels"
        note += f" Shown: the first {len(labels)} filters, {channels}."
    numbers = {"layer": name, **vars(measures), "dead_evaluated_on": evaluated_on}
    inches = 0.42 if labels else 0.62
    figure = draw_image_grid(rows, title, row_labels=labels, note=note, cell_inches=inches)
    context.figure_log.log_figure(figure_name("filters", name), figure, numbers, title, note)


def format_noise_median(weights: Tensor) -> str:
    """Return the median of filters of noise in words; nothing for filters of one pixel."""
    if not has_neighbors(weights):
        return ""
    return f", median of noise {noise_autocorrelation(*weights.shape[1:]).median():.2f}"


def list_dead_filters(context: RunContext, name: str, count: int) -> list[bool]:
    """Return which filters' maps, as their block passes them on, are above zero in no image."""
    block = name.split(".")[0]
    if isinstance(get_layer(context.model, block), nn.Conv2d | nn.Linear):
        block = find_relu_after(context, block)
    top = context.split_activations.top_activations[block]
    return top.is_dead.tolist() if top.values.shape[1] == count else [False] * count


def find_relu_after(context: RunContext, block: str) -> str:
    """Return the first ReLU after a block, which passes on the block's maps, or the block where
    none follows."""
    blocks = list(context.block_names)
    later = blocks[blocks.index(block) :]
    relus = (name for name in later if isinstance(get_layer(context.model, name), nn.ReLU))
    return next(relus, block)


def make_filter_cells(
    weights: Tensor, captions: Sequence[str], frame_colors: Sequence[str | None], most: int
) -> tuple[list[list[GridCell]], list[str]]:
    """Return filters on one or three channels as cells in rows; deeper ones a row each, a cell for
    each channel, with row labels."""
    filters = list(zip(weights, captions, frame_colors, strict=True))[:most]
    if weights.shape[1] in (1, 3):
        cells = [
            GridCell(weights_to_image(w), text, frame_color=color) for w, text, color in filters
        ]
        return [cells[i : i + FILTER_COLUMNS] for i in range(0, len(cells), FILTER_COLUMNS)], []
    filters = filters[:MAX_DEEP_FILTERS]
    rows = [make_deep_filter_row(w, color) for w, _, color in filters]
    return rows, [f"#{number} {text}" for number, (_, text, _) in enumerate(filters)]


def make_deep_filter_row(w: Tensor, frame_color: str | None) -> list[GridCell]:
    """Return one (C, e, e) filter as a cell for each channel, all on one scale."""
    top = max(float(w.abs().max()), 1e-12)
    return [
        GridCell(channel.numpy(), kind="signed", frame_color=frame_color, max_value=top)
        for channel in w[:MAX_DEEP_CHANNELS]
    ]


def read_saved_filters(folder: Path) -> dict[int, Tensor]:
    """Return {epoch: (K, C, e, e)}, the first layer's filters that a run saved. Raises CnnlabError
    for a damaged file."""
    filters = {}
    for path in sorted(folder.glob("filters/*.npy")):
        try:
            filters[int(path.stem)] = torch.from_numpy(read_npy(path)).float()
        except (OSError, TypeError, ValueError, EOFError) as error:
            raise CnnlabError(f"{path} does not hold filters: {summarize_error(error)}") from error
    return filters


def log_filter_history(context: RunContext, epochs: int) -> None:
    """Log the first layer's filters from before the first step to the last epoch, where the run
    saved them."""
    saved = read_saved_filters(context.trained.folder)
    if len(saved) < 2:
        reason = f"{context.trained.folder}/filters holds fewer than two epochs' filters"
        context.figure_log.record_skipped("filters_training", reason)
        return
    first, *_, last = saved
    total = len(saved[first])
    structured = {epoch: sum(list_structured(w)) for epoch, w in saved.items()}
    cosine = {epoch: mean_filter_cosine(w, saved[first]) for epoch, w in saved.items()}
    shown = space_epochs(list(saved), epochs)
    rows = [
        [GridCell(weights_to_image(w)) for w in saved[epoch][:MAX_HISTORY_FILTERS]]
        for epoch in shown
    ]
    labels = [
        f"epoch {epoch}\n{structured[epoch]} stand out\ncosine to epoch {first}: "
        f"{cosine[epoch]:.2f}"
        for epoch in shown
    ]
    title = (
        f"{structured[first]} of {total} filters stand out from noise before training, "
        f"{structured[last]} after {last} "
        f"epoch{'s' * (last != 1)}"
    )
    numbers = {"num_structured": structured, "num_filters": total, "cosine_to_initial": cosine}
    note = (
        f"The first {len(rows[0])} of {total} filters. Cosine: the mean cosine similarity of all "
        "filters to their "
        "initialization."
    )
    figure = draw_image_grid(rows, title, row_labels=labels, cell_inches=0.55, note=note)
    context.figure_log.log_figure("filters_training", figure, numbers, title, note)


def mean_filter_cosine(weights: Tensor, initial: Tensor) -> float:
    """Return the mean cosine similarity of (K, C, e, e) filters to their initial weights."""
    return float(F.cosine_similarity(weights.flatten(1), initial.flatten(1)).mean())


def space_epochs(epochs: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the epochs, the first and the last among them, evenly spaced in the
    root of the epoch: early epochs change most."""
    places = np.round(np.linspace(0, 1, count) ** 2 * (len(epochs) - 1)).astype(int)
    return [epochs[i] for i in np.unique(places)]
