"""`visualize invariance`: the chapter's "local invariance" of max pooling, measured."""

from collections.abc import Mapping, Sequence
from math import fsum
from operator import mul
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core.errors import UsageError
from cnnlab.core.hooks import passing
from cnnlab.core.quoting import plain
from cnnlab.data.dataset import some
from cnnlab.data.operation import as_levels
from cnnlab.interpret.invariance import CHANGES, UNITS, apart, distance, unchanged
from cnnlab.models.layers import FractionalMaxPool
from cnnlab.tasks.trained_run import Trained, load_rival
from cnnlab.tasks.visualize.context import Look, NothingToShow
from cnnlab.viz.curves import changes_figure

POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, FractionalMaxPool)
Yard = dict[str, tuple[float, float]]  # of each layer: how far other pictures are, and its largest magnitude
Found = dict[str, dict[str, dict[str, list[float]]]]  # of each change, of each layer, measures by amount


def invariance(
    look: Look,
    *,
    count: int,
    shifts: list[int],
    rotations: list[float],
    darkening: list[float],
    against: str | None,
) -> None:
    """How far each layer moves when its pictures do, before and after each pooling; beside it another run."""
    amounts: dict[str, Sequence[float]] = {"shift": shifts, "rotation": rotations, "darkening": darkening}
    if count < 2 or min(map(len, amounts.values())) < 1 or any(a < 0 for one in amounts.values() for a in one):
        raise UsageError("invariance: count at least 2, and of each change at least one amount, none below 0")
    if max(darkening) > 1 or max(shifts) >= min(look.trained.shape[1:]):
        raise UsageError("invariance: no darkening above 1, and no shift beyond the picture")
    if len(look.pictures) < 2:
        raise NothingToShow(f"{look.settings.split} has one picture: nothing says how far apart others are")
    index = torch.randperm(len(look.pictures), generator=look.rng())[:count].tolist()
    pixels, labels = some(look.pictures, index), look.pictures.labels[index].cpu()
    found = {look.trained.name: measured(look.trained, pixels, labels, amounts, look)}
    if against is not None:
        other = load_rival(look.trained, against, "invariance.against", look.device, look.settings.outputs)
        name = other.name
        found[name if name not in found else plain(str(other.folder))] = measured(other, pixels, labels, amounts, look)
    rows = [
        (name, [(f"{change}, {UNITS[change]}", lines(one[change], amounts[change])) for change in CHANGES])
        for name, one in found.items()
    ]
    title = told(next(iter(found.values())), shifts)
    numbers = {"pictures": index, "amounts": amounts, "runs": found}
    text = (
        "The distance between a layer's outputs before and after the change, over that between two different pictures. "
        "Shifts are the mean of four ways, rotations of two."
    )
    look.album.show("invariance", changes_figure(rows, title), numbers, title, text)


def taps(trained: Trained) -> dict[str, tuple[str, bool]]:
    """{what is drawn: (a module's name, whether what goes in is meant)}: both sides of each pooling, blocks without
    one, and the output."""
    found: dict[str, tuple[str, bool]] = {}
    for name, child in trained.model.named_children():
        pools = [inner for inner, m in child.named_modules(prefix=name) if isinstance(m, POOLS)]
        if pools == [name] and found:  # what goes into it is the block before
            before, _ = found.popitem()
            found |= {f"{before} before pooling": (name, True), f"{before} after pooling": (name, False)}
            continue
        for pool in pools:
            found |= {f"{name} before pooling": (pool, True), f"{name} after pooling": (pool, False)}
        if not pools and not isinstance(child, (nn.Flatten, nn.Dropout, nn.ReLU)):
            found[name] = (name, False)
    return found


def answers(trained: Trained, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """(N, C, H, W) uint8 -> {what is drawn: outputs}, all but the last after a ReLU; and the predictions."""
    wanted, given = taps(trained), trained.given(pixels)
    before = [name for name, inside in wanted.values() if inside]
    after = [name for name, inside in wanted.values() if not inside]
    entering, leaving, _ = passing(trained.model, given, before, after)
    *_, last = wanted
    seen = {label: (entering if inside else leaving)[name] for label, (name, inside) in wanted.items()}
    return {label: out if label == last else out.relu() for label, out in seen.items()}, seen[last].argmax(1)


@torch.inference_mode()
def measured(
    trained: Trained, pixels: Tensor, labels: Tensor, amounts: Mapping[str, Sequence[float]], look: Look
) -> Found:
    """Every change at every amount: how far each layer moves, the share of its outputs that stay, and the accuracy; the
    mean of as many pictures at once as go through the network together."""
    chunks = list(zip(pixels.split(look.at_once), labels.split(look.at_once), strict=True))
    share = [len(part) / len(pixels) for part, _ in chunks]
    yard = yardsticks(trained, pixels, look.at_once)
    ones = [moved(trained, *chunk, amounts, yard) for chunk in chunks]
    return {
        change: {
            name: {
                measure: [
                    fsum(map(mul, share, column))
                    for column in zip(*(o[change][name][measure] for o in ones), strict=True)
                ]
                for measure in measures
            }
            for name, measures in layers.items()
        }
        for change, layers in ones[0].items()
    }


def yardsticks(trained: Trained, pixels: Tensor, at_once: int) -> Yard:
    """What each layer's changes are held against, of all pictures, each beside the one before it."""
    found: Yard = {}
    for part, others in zip(pixels.split(at_once), pixels.roll(1, 0).split(at_once), strict=True):
        beyond = answers(trained, others)[0]
        for name, out in answers(trained, part)[0].items():
            far, largest = found.get(name, (0.0, 0.0))
            far += apart(out, beyond[name]) * len(part) / len(pixels)
            found[name] = far, max(largest, float(out.abs().max()))
    return found


def moved(
    trained: Trained, pixels: Tensor, labels: Tensor, amounts: Mapping[str, Sequence[float]], yard: Yard
) -> Found:
    """`measured` for pictures that all go through the network at once; each changed copy of them by itself."""
    floats = pixels.float() / 255
    base, first = answers(trained, pixels)
    found: Found = {}
    for change, make in CHANGES.items():
        rows: dict[str, dict[str, list[float]]] = {name: {"distance": [], "unchanged": []} for name in base}
        rows["all"] = {"accuracy": [], "same_prediction": []}
        for amount in amounts[change]:
            copies = [
                beside(base, first, labels, *answers(trained, as_levels(one)), yard) for one in make(floats, amount)
            ]
            for name, measures in rows.items():
                for measure, values in measures.items():
                    values.append(fmean(copy[name][measure] for copy in copies))
        found[change] = rows
    return found


def beside(
    base: dict[str, Tensor], first: Tensor, labels: Tensor, after: dict[str, Tensor], said: Tensor, yard: Yard
) -> dict[str, dict[str, float]]:
    """One changed copy's outputs and predictions beside those of the pictures as they are."""
    found = {
        name: {
            "distance": distance(out, after[name], yard[name][0]),
            "unchanged": unchanged(out, after[name], yard[name][1]),
        }
        for name, out in base.items()
    }
    right, same = (said.cpu() == labels), (said == first)
    return found | {"all": {"accuracy": float(right.float().mean()), "same_prediction": float(same.float().mean())}}


def lines(layers: dict[str, dict[str, list[float]]], amounts: Sequence[float]) -> dict[str, Any]:
    return {name: (amounts, one["distance"]) for name, one in layers.items() if name != "all"}


def told(found: Found, shifts: Sequence[int]) -> str:
    """What the smallest shift does on both sides of the first pooling, or to the output."""
    small = min((i for i, amount in enumerate(shifts) if amount), key=lambda i: shifts[i], default=0)
    layers, pixels = found["shift"], f"{shifts[small]} pixel{'s' * (shifts[small] != 1)}"
    before = [name for name in layers if name.endswith("before pooling")]
    if before:
        after = before[0].replace("before", "after")
        one, two = (layers[name]["distance"][small] for name in (before[0], after))
        return f"A shift of {pixels} moves {before[0]} by {one:.2f}, and after it by {two:.2f}, of another picture"
    last = [name for name in layers if name != "all"][-1]
    return f"A shift of {pixels} moves {last} by {layers[last]['distance'][small]:.2f} of another picture"
