"""`visualize feature_maps filters=...`: hand-written filters over an image, as in figures 5-5 and
5-6 of the chapter."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError, format_unknown_choice
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.image import read_image
from cnnlab.data.user_images import UnreadableImages, expand_folders
from cnnlab.models.fixed_filters import HANDMADE_FILTERS, draw_toy_image
from cnnlab.viz.base import GRAY
from cnnlab.viz.image_grid import GridCell, draw_image_grid

MAX_GRAY_IMAGE_SIDE = 256  # pixels that an image's longer side is resized to


def visualize_handmade_filters(
    names: list[str], files: list[str], threshold: float, log: FigureLog
) -> UnreadableImages:
    """Log a figure for each image file, or for a toy image: the filters' responses, and where they
    exceed the threshold. Returns the files that cannot be read. Raises UsageError for an unknown
    filter."""
    if unknown := [name for name in names if name not in HANDMADE_FILTERS]:
        raise UsageError(
            format_unknown_choice("feature_maps.filters", unknown[0], HANDMADE_FILTERS)
        )
    if not 0 < threshold <= 1:
        raise UsageError(f"feature_maps.threshold must be above 0 and at most 1, not {threshold}")
    unreadable, images = UnreadableImages(), list[tuple[str, Tensor]]()
    for file in expand_folders(files, unreadable):
        try:
            images.append((Path(file).name, read_gray_image(file)))
        except CnnlabError as error:
            unreadable.add(file, error)
    if not files:
        images.append(("a toy image", draw_toy_image()))
    for number, (title, image) in enumerate(images):
        log_filter_responses(log, number, title, image, names, threshold)
    return unreadable


def read_gray_image(file: str) -> Tensor:
    """Read an image file as (H, W) gray values in 0..1, at most MAX_GRAY_IMAGE_SIDE pixels long."""
    image = read_image(Path(file), target_side=MAX_GRAY_IMAGE_SIDE).convert("L")
    image.thumbnail((MAX_GRAY_IMAGE_SIDE, MAX_GRAY_IMAGE_SIDE))
    return torch.from_numpy(np.array(image)).float() / 255


def compute_filter_response(image: Tensor, kernels: Tensor, *, is_line: bool) -> Tensor:
    """Return the response of (K, e, e) kernels at every pixel of an (H, W) image, (H, W), as a
    fraction of the largest possible one: the largest kernel's for lines, the gradient's magnitude
    for edges."""
    margin = kernels.shape[-1] // 2
    # The border repeats the edge; otherwise it would itself be an edge.
    padded = F.pad(image.view(1, 1, *image.shape), (margin,) * 4, mode="replicate")
    responses = F.conv2d(padded, kernels.unsqueeze(1))[0]
    # The largest response is to white where a weight is positive, and black elsewhere.
    largest = kernels.clamp(min=0).sum((1, 2)).view(-1, 1, 1)
    relative = responses / largest
    return relative.amax(0) if is_line else relative.square().sum(0).sqrt()


def log_filter_responses(
    log: FigureLog, number: int, name: str, image: Tensor, filters: list[str], threshold: float
) -> None:
    """Log the figure of one (H, W) image, a row for each filter."""
    shown = GridCell((image * 255).round().byte().unsqueeze(2).numpy())
    rows, labels, numbers = [], [], dict[str, dict[str, Any]]()
    for filter_name in filters:
        kernels, is_line = HANDMADE_FILTERS[filter_name]()
        response = compute_filter_response(image, kernels, is_line=is_line)
        matches = response >= threshold
        maps = [GridCell(values.numpy(), kind="signed") for values in (kernels[0], response)]
        mask = (~matches).byte().mul(255).unsqueeze(2).numpy()
        rows.append([shown, *maps, GridCell(mask, frame_color=GRAY)])
        count = int(matches.sum())
        labels.append(f"{filter_name}\n{count:,} matches")
        numbers[filter_name] = {
            "num_matches": count,
            "max_response": float(response.max()),
            "kernels": kernels.tolist(),
        }
    counts = {filter_name: result["num_matches"] for filter_name, result in numbers.items()}
    title = f"{name}: matches of " + ", ".join(f"{key} {count:,}" for key, count in counts.items())
    hint = "No response is as large; a smaller feature_maps.threshold finds fainter matches."
    heads = [
        "the image",
        "a filter",
        "its response",
        f"black: at least {threshold:g} of the largest possible",
    ]
    figure = draw_image_grid(
        rows,
        title,
        row_labels=labels,
        column_labels=heads,
        cell_inches=1.5,
        note="" if any(counts.values()) else hint,
    )
    result = {"image": name, "threshold": threshold, "filters": numbers}
    log.log_figure(f"handmade_filters_{number}", figure, result, title)
