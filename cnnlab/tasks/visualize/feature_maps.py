"""`visualize features`: a picture on its way through the network; or under filters written by hand, as in figures 5-5
and 5-6."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.hooks import outputs
from cnnlab.tasks.visualize.context import Look, Subject
from cnnlab.viz.image_grid import Cell, cells_figure


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
