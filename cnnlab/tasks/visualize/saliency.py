"""`visualize saliency`: where the network looks, and whether the map knows the network at all."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError, format_unknown_choice
from cnnlab.core.hooks import get_layer as layer_of
from cnnlab.data.build import parse_data_settings
from cnnlab.data.dataset import gather_images
from cnnlab.interpret.attribution import (
    ATTRIBUTION_METHODS,
    AttributionMap,
    AttributionQuery,
    rank_correlation,
)
from cnnlab.models.layers import copy_with_random_weights
from cnnlab.tasks.visualize.context import NothingToShow, RunContext, SelectedImage
from cnnlab.viz.image_grid import GridCell, draw_image_grid

MAX_SALIENCY_BATCH = 256  # pictures at most whose moments a randomized network's batch normalisation takes, and at once


def visualize_saliency(
    look: RunContext,
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
    if unknown := [name for name in methods if name not in ATTRIBUTION_METHODS]:
        raise UsageError(format_unknown_choice("saliency.methods", unknown[0], ATTRIBUTION_METHODS))
    if min(count, samples, len(methods)) < 1 or not 0 < tolerance < 1 or not noise >= 0:
        raise UsageError(
            "saliency: count, samples and methods at least 1, tolerance between 0 and 1, noise above 0"
        )
    height, width = look.input_shape[1:]
    window = window or max(1, min(height, width) // 5)
    stride = stride or max(1, window // 3)
    if not 1 <= stride <= window <= min(height, width):
        raise UsageError(
            f"saliency: stride {stride} at most window {window} at most the picture's {height}x{width}"
        )
    name = look.check_layer_name(layer, "saliency.layer") if layer else look.last_spatial_block
    if name is not None and len(look.output_shapes.get(name, ())) != 3:
        raise UsageError(
            f"saliency.layer: {name} has no maps; {look.last_spatial_block or 'none'} has"
        )
    ask = partial(
        AttributionQuery, baseline=make_baseline(look, baseline), cam_layer=layer_of(look.model, name) if name else None,
        samples=samples, noise=noise, tolerance=tolerance, window=window, stride=stride, seed=look.settings.seed,
        batch_size=min(MAX_SALIENCY_BATCH, look.batch_size),
    )  # fmt: skip
    if len(look.images) < 2:
        raise NothingToShow(
            f"{look.settings.split} has one picture: a network drawn anew has no moments of others"
        )
    conditions = (
        f"Against a {resolve_baseline_name(look, baseline)} picture; occlusion by {window}x{window} pixels every {stride}; SmoothGrad "
        f"of {samples} pictures, noise {noise:g} of the range."
    )
    sample = torch.randperm(len(look.images), generator=look.make_rng())[
        :MAX_SALIENCY_BATCH
    ].tolist()
    other = copy_with_random_weights(
        look.model, look.make_rng(), look.prepare_input(gather_images(look.images, sample))
    )
    for number, subject in enumerate(look.choose_images(count)):
        answer = look.predict_probabilities(subject.pixels)
        wanted = select_target_classes(look, target, subject, int(answer.argmax()))
        x = look.prepare_input(subject.pixels.unsqueeze(0))
        found = {}
        for k in wanted:
            query = ask(model=look.model, x=x, target=k)
            elsewhere = replace(
                query, model=other, cam_layer=layer_of(other, name) if name else None
            )
            found[k] = [
                (method, ATTRIBUTION_METHODS[method](query), ATTRIBUTION_METHODS[method](elsewhere))
                for method in methods
            ]
        log_saliency_maps(look, number, subject, answer, found, conditions)


def resolve_baseline_name(look: RunContext, baseline: str | None) -> str:
    """The baseline that is meant: for light strokes on dark the dark."""
    if baseline is not None:
        return baseline
    return "black" if parse_data_settings(look.trained.config["dataset"]).light_on_dark else "mean"


def make_baseline(look: RunContext, baseline: str | None) -> Tensor:
    """What the network is given of the picture that says nothing. Raises UsageError for another word."""
    baseline = resolve_baseline_name(look, baseline)
    black = look.prepare_input(torch.zeros(1, *look.trained.shape, dtype=torch.uint8))
    choices = {"black": black, "mean": torch.zeros_like(black)}
    if baseline not in choices:
        raise UsageError(format_unknown_choice("saliency.baseline", baseline, choices))
    return choices[baseline]


def select_target_classes(
    look: RunContext, target: str | int | None, subject: SelectedImage, predicted: int
) -> list[int]:
    """The classes to be explained. Raises UsageError for a name that the run does not know."""
    if target is None:
        return [predicted] if subject.label in (None, predicted) else [predicted, subject.label]
    if str(target) not in look.classes:
        raise UsageError(format_unknown_choice("saliency.target", str(target), look.classes))
    return [look.classes.index(str(target))]


def log_saliency_maps(
    look: RunContext,
    number: int,
    subject: SelectedImage,
    answer: Tensor,
    found: dict[int, list[tuple[str, AttributionMap, AttributionMap]]],
    conditions: str,
) -> None:
    """The figure of one picture, and why a map of it is blank."""
    shown = GridCell(look.render_input(subject.pixels.unsqueeze(0))[0])
    rows, labels, numbers, blank = [], [], {}, []
    for k, maps in found.items():
        role = (
            "true" if k == subject.label else "predicted" if k == int(answer.argmax()) else "asked"
        )
        rows.append([shown, *(make_attribution_cell(one, "") for _, one, _ in maps)])
        labels.append(f"why {look.classes[k]} ({role})")
        likeness = {method: rank_correlation(one, other) for method, one, other in maps}
        rows.append(
            [
                GridCell(None),
                *(
                    make_attribution_cell(other, format_rank_correlation(likeness[method]))
                    for method, _, other in maps
                ),
            ]
        )
        labels.append("the same, weights drawn anew")
        blank += [
            f"{method} for {look.classes[k]} is blank: {one.blank_reason}"
            for method, one, _ in maps
            if one.blank_reason
        ]
        numbers[look.classes[k]] = {
            method: {
                "similarity_to_randomized": likeness[method],
                "why_blank": one.blank_reason,
                **one.details,
            }
            for method, one, _ in maps
        }
    heads = ["the picture", *(method for method, _, _ in next(iter(found.values())))]
    title = f"{subject.title}: {look.format_prediction(subject, answer)}"
    note = " ".join([
        conditions,
        "Red speaks for the class, blue against it; black to light is magnitude. 'alike': rank correlation with the "
        "map above it; near 1, that map says nothing of what was learned.",
        *(f"{one}." for one in blank),
    ])  # fmt: skip
    figure = draw_image_grid(
        rows, title, row_labels=labels, column_labels=heads, note=note, cell_inches=1.15
    )
    about: dict[str, Any] = {
        "picture": subject.name,
        "changes": list(subject.adaptations),
        "maps": numbers,
    }
    look.figure_log.log_figure(
        f"saliency_{number}",
        figure,
        about | {"probabilities": look.label_probabilities(answer)},
        title,
        note,
    )


def make_attribution_cell(one: AttributionMap, caption: str) -> GridCell:
    return GridCell(one.values, caption, "signed" if one.is_signed else "heat")


def format_rank_correlation(value: float | None) -> str:
    return "one is all alike" if value is None else f"alike {value:.2f}"
