"""`visualize filters`: the weights themselves, as the chapter's figure 5-18, and how they came to be."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.core.errors import CnnlabError, UsageError, reason
from cnnlab.core.hooks import layer as layer_of
from cnnlab.interpret.filter_structure import noise, noise_probability, structure, structured
from cnnlab.tasks.visualize.context import Look, NothingToShow
from cnnlab.viz.base import GREY, ORANGE
from cnnlab.viz.image_grid import Cell, cells_figure
from cnnlab.viz.weight_images import first_weights, scaled

ACROSS = 12  # cells in a row
STRIP = 14  # filters of which the strip through the training shows the course


def filters(look: Look, *, layer: str | None, most: int, epochs: int) -> None:
    """The first layer's filters and their way through the training, or those of a convolution that is named."""
    if most < 1 or epochs < 2:
        raise UsageError(f"filters: most must be at least 1 and epochs at least 2, not {most} and {epochs}")
    if layer is not None:
        name, weights = convolution(look, layer)
        return sheet(look, name, weights, most)
    first = first_weights(look.model, look.sizes_in)
    if first is None:
        kind = look.trained.config["model"]["name"]
        raise NothingToShow(f"the first layer of {kind} has no learned filters on the picture itself")
    sheet(look, first_name(look.model), first, most)
    strip(look, epochs)
    return None


def first_name(model: nn.Module) -> str:
    return next(name for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


def convolution(look: Look, name: str) -> tuple[str, Tensor]:
    """A convolution's name and weights, by its own name or its block's. Raises UsageError with those there are."""
    look.checked(name, "filters.layer")
    known = {one: m for one, m in look.model.named_modules() if isinstance(m, nn.Conv2d)}
    inside = [one for one in known if one == name or one.startswith(f"{name}.")]
    if not inside:
        raise UsageError(f"filters.layer: {name} has no convolution; {', '.join(known) or 'nothing'} has")
    return inside[0], known[inside[0]].weight


def sheet(look: Look, name: str, weights: Tensor, most: int) -> None:
    """Every filter, whether it is more than noise, and whether it ever fires."""
    weights = weights.detach().float().cpu()
    good, dead = found_in(weights), dead_of(look, name, len(weights))
    score = structure(weights) if weights[0, 0].numel() > 1 else torch.zeros(len(weights))
    captions = [f"{value:.2f}" + (" dead" if off else "") for value, off in zip(score.tolist(), dead, strict=True)]
    frames = [ORANGE if off else None if ok else GREY for ok, off in zip(good, dead, strict=True)]
    searched = f"{len(look.pictures):,} {look.settings.split} pictures"
    title = f"{name}: {sum(good)} of {len(weights)} filters stand out from noise, {sum(dead)} never fire"
    note = (
        f"Number: how alike neighbouring weights are, at most 1{of_noise(weights)}. Grey frame: not told from noise (5 "
        f"% false discoveries). Orange frame: above zero for none of {searched}."
    )
    numbers = {
        "layer": name, "structure": score.tolist(), "structured": good, "dead": dead, "searched": searched,
        "noise_probability": noise_probability(weights).tolist() if weights[0, 0].numel() > 1 else None,
    }  # fmt: skip
    rows, labels = by_filter(weights, captions, frames, most)
    if labels and (len(labels), len(rows[0])) != tuple(weights.shape[:2]):
        note += f" Shown: the first {len(labels)} filters, the first {len(rows[0])} of {weights.shape[1]} channels."
    figure = cells_figure(rows, title, row_labels=labels, note=note, inches=0.62 if not labels else 0.42)
    safe = name.replace(".", "_")
    look.album.show(f"filters_{safe}", figure, numbers, title, note)


def of_noise(weights: Tensor) -> str:
    """What half of all filters of noise stay below, in words; nothing for filters of one pixel."""
    return f", {noise(*weights.shape[1:]).median():.2f} for half of all noise" if weights[0, 0].numel() > 1 else ""


def found_in(weights: Tensor) -> list[bool]:
    """Which filters are told from noise; of one pixel, none can be."""
    return structured(weights).tolist() if weights[0, 0].numel() > 1 else [False] * len(weights)


def dead_of(look: Look, name: str, count: int) -> list[bool]:
    """Which filters' maps, as their block passes them on, were above zero in no picture."""
    block = name.split(".")[0]
    if isinstance(layer_of(look.model, block), nn.Conv2d | nn.Linear):  # what it passes on is what its ReLU does
        later = list(look.blocks)[list(look.blocks).index(block) :]
        block = next((one for one in later if isinstance(layer_of(look.model, one), nn.ReLU)), block)
    peaks = look.survey.peaks[block]
    return peaks.dead.tolist() if peaks.value.shape[1] == count else [False] * count


def by_filter(
    weights: Tensor, captions: list[str], frames: list[str | None], most: int
) -> tuple[list[list[Cell]], list[str]]:
    """Filters on a picture's one or three channels as cells in rows; deeper ones a row each, a cell for each channel,
    under labels."""
    if weights.shape[1] in (1, 3):
        cells = [Cell(scaled(w), c, frame=f) for w, c, f in zip(weights, captions, frames, strict=True)][:most]
        return [cells[i : i + ACROSS] for i in range(0, len(cells), ACROSS)], []
    rows, labels = [], []
    for number, (w, caption, frame) in enumerate(zip(weights, captions, frames, strict=True)):
        top = max(float(w.abs().max()), 1e-12)
        rows.append([Cell(one.numpy(), kind="signed", frame=frame, top=top) for one in w[: ACROSS + 4]])
        labels.append(f"#{number} {caption}")
    return rows[: min(most, 16)], labels[: min(most, 16)]


def kept(folder: Path) -> dict[int, Tensor]:
    """{epoch: (K, C, e, e)} of the first layer's filters that a run kept. Raises CnnlabError for a damaged file."""
    found = {}
    for path in sorted(folder.glob("filters/*.npy")):
        try:
            found[int(path.stem)] = torch.from_numpy(np.load(path, allow_pickle=False)).float()
        except (OSError, ValueError, EOFError) as error:
            raise CnnlabError(f"{path} does not hold filters: {reason(error)}") from error
    return found


def strip(look: Look, epochs: int) -> None:
    """The first layer's filters from before the first step to the last epoch; says so where a run kept none."""
    stages = kept(look.trained.folder)
    if len(stages) < 2:
        look.album.missing("filters_training", f"{look.trained.folder}/filters holds fewer than two epochs' filters")
        return
    every = list(stages)
    # Early epochs change most: spaced evenly in the root of the epoch.
    places = np.unique(np.round(np.linspace(0, 1, epochs) ** 2 * (len(every) - 1)).astype(int))
    counts = {epoch: sum(found_in(w)) for epoch, w in stages.items()}
    begun = stages[every[0]]
    like = {epoch: float(F.cosine_similarity(w.flatten(1), begun.flatten(1)).mean()) for epoch, w in stages.items()}
    rows = [[Cell(scaled(w)) for w in stages[every[i]][:STRIP]] for i in places]
    total = len(stages[every[0]])
    labels = [
        f"epoch {every[i]}\n{counts[every[i]]} stand out\n{like[every[i]]:.2f} like epoch {every[0]}" for i in places
    ]
    title = (
        f"{counts[every[0]]} of {total} filters stand out from noise before training, {counts[every[-1]]} after "
        f"{every[-1]} epoch{'s' * (every[-1] != 1)}"
    )
    numbers = {"structured": counts, "of": total, "cosine_to_beginning": like}
    note = f"The first {len(rows[0])} of {total} filters. Like: the mean cosine of all to their beginning."
    figure = cells_figure(rows, title, row_labels=labels, inches=0.55, note=note)
    look.album.show("filters_training", figure, numbers, title, note)
