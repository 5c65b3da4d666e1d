"""Hand-written filters over an image: figures 5-5 and 5-6 of the chapter."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.errors import UsageError, format_unknown_choice
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.image import read_image
from cnnlab.models.fixed_filters import HANDMADE_FILTERS, draw_toy_image
from cnnlab.viz.base import GRAY
from cnnlab.viz.image_grid import GridCell, draw_image_grid

MAX_GRAY_IMAGE_SIDE = 256  # pixels that a picture's longer side is made for hand-written filters


def visualize_handmade_filters(
    names: list[str], pictures: list[str], match: float, album: FigureLog
) -> None:
    """Hand-written filters over a toy picture, or over files: what each answers at every place, and where it found what
    it looks for. Raises UsageError for a filter that there is not."""
    if unknown := [name for name in names if name not in HANDMADE_FILTERS]:
        raise UsageError(format_unknown_choice("feature_maps.filters", unknown[0], HANDMADE_FILTERS))
    if not 0 < match <= 1:
        raise UsageError(f"feature_maps.threshold must be above 0 and at most 1, not {match}")
    named = [(Path(name).name, read_gray_image(name)) for name in pictures] or [
        ("a toy picture", draw_toy_image())
    ]
    for number, (name, grey) in enumerate(named):
        log_filter_responses(album, number, name, grey, names, match)


def read_gray_image(name: str) -> Tensor:
    """A picture file -> (H, W) in 0..1, grey, at most SIDE pixels long."""
    image = read_image(Path(name), target_side=MAX_GRAY_IMAGE_SIDE).convert("L")
    image.thumbnail((MAX_GRAY_IMAGE_SIDE, MAX_GRAY_IMAGE_SIDE))
    return torch.from_numpy(np.array(image)).float() / 255


def log_filter_responses(
    album: FigureLog, number: int, name: str, grey: Tensor, names: list[str], match: float
) -> None:
    picture = (grey * 255).round().byte().unsqueeze(2).numpy()
    rows, labels, numbers = [], [], {}
    for which in names:
        bank, line = HANDMADE_FILTERS[which]()
        wide = F.pad(
            grey.view(1, 1, *grey.shape), (bank.shape[-1] // 2,) * 4, mode="replicate"
        )  # else there are edges
        answers = F.conv2d(wide, bank.unsqueeze(1))[0]
        best = (
            bank.clamp(min=0).sum((1, 2)).view(-1, 1, 1)
        )  # of white where a weight is above zero, and black elsewhere
        strength = answers / best
        strongest = strength.amax(0) if line else strength.square().sum(0).sqrt()
        places = strongest >= match
        rows.append([
            GridCell(picture), GridCell(bank[0].numpy(), kind="signed"), GridCell(strongest.numpy(), kind="signed"),
            GridCell((~places).byte().mul(255).unsqueeze(2).numpy(), frame_color=GRAY),
        ])  # fmt: skip
        labels.append(f"{which}\nfound at {int(places.sum()):,} places")
        numbers[which] = {
            "found": int(places.sum()),
            "largest": float(strongest.max()),
            "filters": bank.tolist(),
        }
    title = f"{name}: found at so many places: " + ", ".join(
        f"{k} {one['found']:,}" for k, one in numbers.items()
    )
    faint = not any(one["found"] for one in numbers.values())
    note = (
        "Nothing answers so strongly; a smaller feature_maps.threshold finds fainter ones." if faint else ""
    )
    heads = [
        "the picture",
        "a filter",
        "its answer",
        f"black: at least {match:g} of the best possible",
    ]
    image = draw_image_grid(
        rows, title, row_labels=labels, column_labels=heads, cell_inches=1.5, note=note
    )
    about = {"picture": name, "match": match, "filters": numbers}
    album.log_figure(f"handmade_filters_{number}", image, about, title)
