"""`visualize saliency`: where the network looks, and whether the map knows the network at all."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError, not_one_of
from cnnlab.core.hooks import layer as layer_of
from cnnlab.data.build import data_settings
from cnnlab.data.dataset import some
from cnnlab.interpret.attribution import METHODS, Map, Query, similarity
from cnnlab.models.layers import randomized
from cnnlab.tasks.visualize.context import Look, NothingToShow, Subject
from cnnlab.viz.image_grid import Cell, cells_figure

BATCH = 256  # pictures at most whose moments a randomized network's batch normalisation takes, and at once


def saliency(
    look: Look,
    *,
    methods: list[str],
    count: int,
    target: str | int | None,
    baseline: str | None,
    layer: str | None,
    samples: int,
    noise: float,
    tolerance: float,
    window: int | None,
    stride: int | None,
) -> None:
    """For each picture a figure: a column a method, a row for the predicted class and, where another, the true one; and
    below each the same from the network with weights drawn anew. A map that stays as it is says nothing of what was
    learned (Adebayo et al. 2018)."""
    if unknown := [name for name in methods if name not in METHODS]:
        raise UsageError(not_one_of("saliency.methods", unknown[0], METHODS))
    if min(count, samples, len(methods)) < 1 or not 0 < tolerance < 1 or not noise >= 0:
        raise UsageError("saliency: count, samples and methods at least 1, tolerance between 0 and 1, noise above 0")
    height, width = look.sizes_in[1:]
    window = window or max(1, min(height, width) // 5)
    stride = stride or max(1, window // 3)
    if not 1 <= stride <= window <= min(height, width):
        raise UsageError(f"saliency: stride {stride} at most window {window} at most the picture's {height}x{width}")
    name = look.checked(layer, "saliency.layer") if layer else look.last_maps
    if name is not None and len(look.sizes.get(name, ())) != 3:
        raise UsageError(f"saliency.layer: {name} has no maps; {look.last_maps or 'none'} has")
    ask = partial(
        Query, baseline=nothing(look, baseline), cam_layer=layer_of(look.model, name) if name else None,
        samples=samples, noise=noise, tolerance=tolerance, window=window, stride=stride, seed=look.settings.seed,
        at_once=min(BATCH, look.at_once),
    )  # fmt: skip
    if len(look.pictures) < 2:
        raise NothingToShow(f"{look.settings.split} has one picture: a network drawn anew has no moments of others")
    conditions = (
        f"Against a {named(look, baseline)} picture; occlusion by {window}x{window} pixels every {stride}; SmoothGrad "
        f"of {samples} pictures, noise {noise:g} of the range."
    )
    sample = torch.randperm(len(look.pictures), generator=look.rng())[:BATCH].tolist()
    other = randomized(look.model, look.rng(), look.given(some(look.pictures, sample)))
    for number, subject in enumerate(look.subjects(count)):
        answer = look.answer(subject.pixels)
        wanted = classes_asked(look, target, subject, int(answer.argmax()))
        x = look.given(subject.pixels.unsqueeze(0))
        found = {}
        for k in wanted:
            query = ask(model=look.model, x=x, target=k)
            elsewhere = replace(query, model=other, cam_layer=layer_of(other, name) if name else None)
            found[k] = [(method, METHODS[method](query), METHODS[method](elsewhere)) for method in methods]
        draw(look, number, subject, answer, found, conditions)


def named(look: Look, baseline: str | None) -> str:
    """The baseline that is meant: for light strokes on dark the dark."""
    if baseline is not None:
        return baseline
    return "black" if data_settings(look.trained.config["dataset"]).light_on_dark else "mean"


def nothing(look: Look, baseline: str | None) -> Tensor:
    """What the network is given of the picture that says nothing. Raises UsageError for another word."""
    baseline = named(look, baseline)
    black = look.given(torch.zeros(1, *look.trained.shape, dtype=torch.uint8))
    choices = {"black": black, "mean": torch.zeros_like(black)}
    if baseline not in choices:
        raise UsageError(not_one_of("saliency.baseline", baseline, choices))
    return choices[baseline]


def classes_asked(look: Look, target: str | int | None, subject: Subject, predicted: int) -> list[int]:
    """The classes to be explained. Raises UsageError for a name that the run does not know."""
    if target is None:
        return [predicted] if subject.true in (None, predicted) else [predicted, subject.true]
    if str(target) not in look.classes:
        raise UsageError(not_one_of("saliency.target", str(target), look.classes))
    return [look.classes.index(str(target))]


def draw(
    look: Look,
    number: int,
    subject: Subject,
    answer: Tensor,
    found: dict[int, list[tuple[str, Map, Map]]],
    conditions: str,
) -> None:
    """The figure of one picture, and why a map of it is blank."""
    shown = Cell(look.visible(subject.pixels.unsqueeze(0))[0])
    rows, labels, numbers, blank = [], [], {}, []
    for k, maps in found.items():
        role = "true" if k == subject.true else "predicted" if k == int(answer.argmax()) else "asked"
        rows.append([shown, *(cell(one, "") for _, one, _ in maps)])
        labels.append(f"why {look.classes[k]} ({role})")
        likeness = {method: similarity(one, other) for method, one, other in maps}
        rows.append([Cell(None), *(cell(other, alike(likeness[method])) for method, _, other in maps)])
        labels.append("the same, weights drawn anew")
        blank += [f"{method} for {look.classes[k]} is blank: {one.why}" for method, one, _ in maps if one.why]
        numbers[look.classes[k]] = {
            method: {"similarity_to_randomized": likeness[method], "why_blank": one.why, **one.about}
            for method, one, _ in maps
        }
    heads = ["the picture", *(method for method, _, _ in next(iter(found.values())))]
    title = f"{subject.title}: {look.said(subject, answer)}"
    note = " ".join([
        conditions,
        "Red speaks for the class, blue against it; black to light is magnitude. 'alike': rank correlation with the "
        "map above it; near 1, that map says nothing of what was learned.",
        *(f"{one}." for one in blank),
    ])  # fmt: skip
    figure = cells_figure(rows, title, row_labels=labels, column_labels=heads, note=note, inches=1.15)
    about: dict[str, Any] = {"picture": subject.name, "changes": list(subject.changes), "maps": numbers}
    look.album.show(f"saliency_{number}", figure, about | {"probabilities": look.likely(answer)}, title, note)


def cell(one: Map, caption: str) -> Cell:
    return Cell(one.values, caption, "signed" if one.signed else "heat")


def alike(value: float | None) -> str:
    return "one is all alike" if value is None else f"alike {value:.2f}"
