"""`visualize filters`: the weights themselves, as the chapter's figure 5-18, and how they came to be."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.core.errors import CnnlabError, UsageError, summarize_error
from cnnlab.core.hooks import get_layer as layer_of
from cnnlab.interpret.filter_structure import (
    is_structured,
    noise_autocorrelation,
    noise_p_values,
    spatial_autocorrelation,
)
from cnnlab.tasks.visualize.context import NothingToShow, RunContext
from cnnlab.viz.base import GRAY, ORANGE
from cnnlab.viz.image_grid import GridCell, draw_image_grid
from cnnlab.viz.weight_images import get_first_layer_weights, weights_to_image

FILTER_COLUMNS = 12  # cells in a row
MAX_HISTORY_FILTERS = 14  # filters of which the strip through the training shows the course


def visualize_filters(
    look: RunContext, *, layer: str | None, max_filters: int, epochs: int
) -> None:
    """The first layer's filters and their way through the training, or those of a convolution that is named."""
    if max_filters < 1 or epochs < 2:
        raise UsageError(
            f"filters: max_filters must be at least 1 and epochs at least 2, not {max_filters} and {epochs}"
        )
    if layer is not None:
        name, weights = find_convolution(look, layer)
        return log_filter_sheet(look, name, weights, max_filters)
    first = get_first_layer_weights(look.model, look.input_shape)
    if first is None:
        kind = look.trained.config["model"]["name"]
        raise NothingToShow(
            f"the first layer of {kind} has no learned filters on the picture itself"
        )
    log_filter_sheet(look, find_first_layer_name(look.model), first, max_filters)
    log_filter_history(look, epochs)
    return None


def find_first_layer_name(model: nn.Module) -> str:
    return next(name for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


def find_convolution(look: RunContext, name: str) -> tuple[str, Tensor]:
    """A convolution's name and weights, by its own name or its block's. Raises UsageError with those there are."""
    look.check_layer_name(name, "filters.layer")
    known = {one: m for one, m in look.model.named_modules() if isinstance(m, nn.Conv2d)}
    inside = [one for one in known if one == name or one.startswith(f"{name}.")]
    if not inside:
        raise UsageError(
            f"filters.layer: {name} has no convolution; {', '.join(known) or 'nothing'} has"
        )
    return inside[0], known[inside[0]].weight


def log_filter_sheet(look: RunContext, name: str, weights: Tensor, most: int) -> None:
    """Every filter, whether it is more than noise, and whether it ever fires."""
    weights = weights.detach().float().cpu()
    good, dead = list_structured(weights), list_dead_filters(look, name, len(weights))
    score = (
        spatial_autocorrelation(weights) if weights[0, 0].numel() > 1 else torch.zeros(len(weights))
    )
    captions = [
        f"{value:.2f}" + (" dead" if off else "")
        for value, off in zip(score.tolist(), dead, strict=True)
    ]
    frames = [ORANGE if off else None if ok else GRAY for ok, off in zip(good, dead, strict=True)]
    searched = f"{len(look.images):,} {look.settings.split} pictures"
    title = f"{name}: {sum(good)} of {len(weights)} filters stand out from noise, {sum(dead)} never fire"
    note = (
        f"Number: how alike neighbouring weights are, at most 1{format_noise_median(weights)}. Grey frame: not told from noise (5 "
        f"% false discoveries). Orange frame: above zero for none of {searched}."
    )
    numbers = {
        "layer": name, "structure": score.tolist(), "structured": good, "dead": dead, "searched": searched,
        "noise_probability": noise_p_values(weights).tolist() if weights[0, 0].numel() > 1 else None,
    }  # fmt: skip
    rows, labels = make_filter_cells(weights, captions, frames, most)
    if labels and (len(labels), len(rows[0])) != tuple(weights.shape[:2]):
        note += f" Shown: the first {len(labels)} filters, the first {len(rows[0])} of {weights.shape[1]} channels."
    figure = draw_image_grid(
        rows, title, row_labels=labels, note=note, cell_inches=0.62 if not labels else 0.42
    )
    safe = name.replace(".", "_")
    look.figure_log.log_figure(f"filters_{safe}", figure, numbers, title, note)


def format_noise_median(weights: Tensor) -> str:
    """What half of all filters of noise stay below, in words; nothing for filters of one pixel."""
    return (
        f", {noise_autocorrelation(*weights.shape[1:]).median():.2f} for half of all noise"
        if weights[0, 0].numel() > 1
        else ""
    )


def list_structured(weights: Tensor) -> list[bool]:
    """Which filters are told from noise; of one pixel, none can be."""
    return is_structured(weights).tolist() if weights[0, 0].numel() > 1 else [False] * len(weights)


def list_dead_filters(look: RunContext, name: str, count: int) -> list[bool]:
    """Which filters' maps, as their block passes them on, were above zero in no picture."""
    block = name.split(".")[0]
    if isinstance(
        layer_of(look.model, block), nn.Conv2d | nn.Linear
    ):  # what it passes on is what its ReLU does
        later = list(look.block_names)[list(look.block_names).index(block) :]
        block = next(
            (one for one in later if isinstance(layer_of(look.model, one), nn.ReLU)), block
        )
    peaks = look.split_activations.top_activations[block]
    return peaks.is_dead.tolist() if peaks.values.shape[1] == count else [False] * count


def make_filter_cells(
    weights: Tensor, captions: list[str], frames: list[str | None], most: int
) -> tuple[list[list[GridCell]], list[str]]:
    """Filters on a picture's one or three channels as cells in rows; deeper ones a row each, a cell for each channel,
    under labels."""
    if weights.shape[1] in (1, 3):
        cells = [
            GridCell(weights_to_image(w), c, frame_color=f)
            for w, c, f in zip(weights, captions, frames, strict=True)
        ][:most]
        return [cells[i : i + FILTER_COLUMNS] for i in range(0, len(cells), FILTER_COLUMNS)], []
    rows, labels = [], []
    for number, (w, caption, frame) in enumerate(zip(weights, captions, frames, strict=True)):
        top = max(float(w.abs().max()), 1e-12)
        rows.append(
            [
                GridCell(one.numpy(), kind="signed", frame_color=frame, max_value=top)
                for one in w[: FILTER_COLUMNS + 4]
            ]
        )
        labels.append(f"#{number} {caption}")
    return rows[: min(most, 16)], labels[: min(most, 16)]


def read_saved_filters(folder: Path) -> dict[int, Tensor]:
    """{epoch: (K, C, e, e)} of the first layer's filters that a run kept. Raises CnnlabError for a damaged file."""
    found = {}
    for path in sorted(folder.glob("filters/*.npy")):
        try:
            found[int(path.stem)] = torch.from_numpy(np.load(path, allow_pickle=False)).float()
        except (OSError, ValueError, EOFError) as error:
            raise CnnlabError(f"{path} does not hold filters: {summarize_error(error)}") from error
    return found


def log_filter_history(look: RunContext, epochs: int) -> None:
    """The first layer's filters from before the first step to the last epoch; says so where a run kept none."""
    stages = read_saved_filters(look.trained.folder)
    if len(stages) < 2:
        look.figure_log.record_skipped(
            "filters_training",
            f"{look.trained.folder}/filters holds fewer than two epochs' filters",
        )
        return
    every = list(stages)
    # Early epochs change most: spaced evenly in the root of the epoch.
    places = np.unique(np.round(np.linspace(0, 1, epochs) ** 2 * (len(every) - 1)).astype(int))
    counts = {epoch: sum(list_structured(w)) for epoch, w in stages.items()}
    begun = stages[every[0]]
    like = {
        epoch: float(F.cosine_similarity(w.flatten(1), begun.flatten(1)).mean())
        for epoch, w in stages.items()
    }
    rows = [
        [GridCell(weights_to_image(w)) for w in stages[every[i]][:MAX_HISTORY_FILTERS]]
        for i in places
    ]
    total = len(stages[every[0]])
    labels = [
        f"epoch {every[i]}\n{counts[every[i]]} stand out\n{like[every[i]]:.2f} like epoch {every[0]}"
        for i in places
    ]
    title = (
        f"{counts[every[0]]} of {total} filters stand out from noise before training, {counts[every[-1]]} after "
        f"{every[-1]} epoch{'s' * (every[-1] != 1)}"
    )
    numbers = {"structured": counts, "of": total, "cosine_to_beginning": like}
    note = f"The first {len(rows[0])} of {total} filters. Like: the mean cosine of all to their beginning."
    figure = draw_image_grid(rows, title, row_labels=labels, cell_inches=0.55, note=note)
    look.figure_log.log_figure("filters_training", figure, numbers, title, note)
