"""`visualize features`: a picture on its way through the network; or under filters written by hand, as in figures 5-5
and 5-6."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.errors import UsageError, not_one_of
from cnnlab.core.image import read_picture
from cnnlab.core.hooks import outputs
from cnnlab.models.fixed_filters import HAND, toy
from cnnlab.core.figure_log import Album
from cnnlab.tasks.visualize.context import Look, Subject
from cnnlab.viz.image_grid import Cell, cells_figure
from cnnlab.viz.plots import GREY

SIDE = 256  # pixels that a picture's longer side is made for hand-written filters


def features(look: Look, *, layers: list[str] | None, channels: int, filters: list[str], match: float) -> None:
    """For each picture a figure: its maps in each layer, those with the highest mean first."""
    if channels < 1:
        raise UsageError(f"features.channels must be at least 1, not {channels}")
    names = [look.checked(name, "features.layers") for name in layers] if layers else look.blocks[:-1]
    for number, subject in enumerate(look.subjects(2)):
        one(look, subject, names, channels, number)


def one(look: Look, subject: Subject, names: list[str], channels: int, number: int) -> None:
    with torch.inference_mode():
        found = outputs(look.model, look.given(subject.pixels.unsqueeze(0)), names)
    rows, labels, numbers = [[Cell(look.visible(subject.pixels.unsqueeze(0))[0])]], ["the picture"], dict[str, Any]()
    for name, out in found.items():
        maps = out[0].float().cpu()
        cells = of_maps(maps, channels) if maps.ndim == 3 else [of_units(maps)]
        rows.append(cells)
        shape = "x".join(map(str, (*maps.shape[1:], len(maps)))) if maps.ndim == 3 else f"{len(maps):,} units"
        alive = (
            float((maps.flatten(1) > 0).any(1).double().mean()) if maps.ndim == 3 else float((maps > 0).double().mean())
        )
        labels.append(f"{name}\n{shape}\n{alive:.0%} at work")
        numbers[name] = {"shape": list(maps.shape), "at_work": alive, "mean": float(maps.mean())}
    answer = look.answer(subject.pixels)
    said = look.said(subject, answer)
    title = f"{subject.title} on its way through the network: {said}"
    note = (
        "Black is zero, light is high, or, where some are below zero, blue and red; each map to its own largest. "
        "#: the channel, those with the highest mean first. At work: channels that are above zero somewhere, or units."
    )
    about = {"picture": subject.name, "probabilities": look.likely(answer), "layers": numbers}
    figure = cells_figure(rows, title, row_labels=labels, note=note, inches=0.72)
    look.album.show(f"features_{number}", figure, about, title, note)


def of_maps(maps: Tensor, most: int) -> list[Cell]:
    """(K, h, w) -> the `most` maps with the highest mean, largest first."""
    order = maps.mean((1, 2)).argsort(descending=True, stable=True)[:most].tolist()
    if bool((maps < 0).any()):
        return [Cell(maps[k].numpy(), f"#{k}", "signed") for k in order]
    return [Cell(maps[k].numpy(), f"#{k}", "heat") for k in order]


def of_units(values: Tensor) -> Cell:
    """(K,) -> the units in rows, as near to a square as they go."""
    across = math.ceil(math.sqrt(len(values)))
    padded = F.pad(values, (0, -len(values) % across)).view(-1, across).numpy()
    return Cell(padded, kind="signed" if bool((values < 0).any()) else "heat")


def by_hand(names: list[str], pictures: list[str], match: float, album: Album) -> None:
    """Hand-written filters over a toy picture, or over files: what each answers at every place, and where it found what
    it looks for. Raises UsageError for a filter that there is not."""
    if unknown := [name for name in names if name not in HAND]:
        raise UsageError(not_one_of("features.filters", unknown[0], HAND))
    if not 0 < match <= 1:
        raise UsageError(f"features.match must be above 0 and at most 1, not {match}")
    named = [(Path(name).name, shrunk(name)) for name in pictures] or [("a toy picture", toy())]
    for number, (name, grey) in enumerate(named):
        drawn(album, number, name, grey, names, match)


def shrunk(name: str) -> Tensor:
    """A picture file -> (H, W) in 0..1, grey, at most SIDE pixels long."""
    image = read_picture(Path(name), side=SIDE).convert("L")
    image.thumbnail((SIDE, SIDE))
    return torch.from_numpy(np.array(image)).float() / 255


def drawn(album: Album, number: int, name: str, grey: Tensor, names: list[str], match: float) -> None:
    picture = (grey * 255).round().byte().unsqueeze(2).numpy()
    rows, labels, numbers = [], [], {}
    for which in names:
        bank, line = HAND[which]()
        wide = F.pad(grey.view(1, 1, *grey.shape), (bank.shape[-1] // 2,) * 4, mode="replicate")  # else there are edges
        answers = F.conv2d(wide, bank.unsqueeze(1))[0]
        best = (
            bank.clamp(min=0).sum((1, 2)).view(-1, 1, 1)
        )  # of white where a weight is above zero, and black elsewhere
        strength = answers / best
        strongest = strength.amax(0) if line else strength.square().sum(0).sqrt()
        places = strongest >= match
        rows.append([
            Cell(picture), Cell(bank[0].numpy(), kind="signed"), Cell(strongest.numpy(), kind="signed"),
            Cell((~places).byte().mul(255).unsqueeze(2).numpy(), frame=GREY),
        ])  # fmt: skip
        labels.append(f"{which}\nfound at {int(places.sum()):,} places")
        numbers[which] = {"found": int(places.sum()), "largest": float(strongest.max()), "filters": bank.tolist()}
    title = f"{name}: found at so many places: " + ", ".join(f"{k} {one['found']:,}" for k, one in numbers.items())
    faint = not any(one["found"] for one in numbers.values())
    note = "Nothing answers so strongly; a smaller features.match finds fainter ones." if faint else ""
    heads = ["the picture", "a filter", "its answer", f"black: at least {match:g} of the best possible"]
    image = cells_figure(rows, title, row_labels=labels, column_labels=heads, inches=1.5, note=note)
    about = {"picture": name, "match": match, "filters": numbers}
    album.show(f"features_by_hand_{number}", image, about, title)
