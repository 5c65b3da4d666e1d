"""`visualize saliency`: which pixels a prediction depends on, and whether the map depends on the
weights at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnlab.core.errors import UsageError, format_unknown_choice
from cnnlab.core.hooks import get_layer
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

# Images in a batch at most; and for the batch normalization statistics of the randomized network.
MAX_SALIENCY_BATCH = 256
SALIENCY_LEGEND = (
    "Red is evidence for the class, blue against it; black to light is magnitude. Spearman: rank "
    "correlation with the map above; near 1, that map says nothing about what was learned."
)


@dataclass(frozen=True)
class MapPair:
    """One method's map of the trained network, and of the same network with randomized weights."""

    method: str
    trained: AttributionMap
    randomized: AttributionMap
    correlation: float | None  # Spearman's rank correlation between them


def visualize_saliency(
    context: RunContext,
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
    """Log a figure for each image: a column for each method, a row for the predicted class and,
    where it differs, the label; below each, the same from the network with randomized weights. A
    map that stays the same says nothing about what was learned (Adebayo et al. 2018)."""
    check_methods(methods)
    if min(count, samples, len(methods)) < 1 or not 0 < tolerance < 1 or not noise >= 0:
        raise UsageError(
            "saliency: count, samples and methods must be at least 1, tolerance between 0 and 1, "
            "noise at least 0"
        )
    window, stride = choose_window(context, window, stride)
    cam_layer = find_cam_layer(context, layer)
    if len(context.images) < 2:
        raise NothingToShow(
            f"{context.settings.split} has one image: a randomized network has no batch statistics"
        )
    query = partial(
        AttributionQuery,
        baseline=make_baseline(context, baseline),
        samples=samples,
        noise=noise,
        tolerance=tolerance,
        window=window,
        stride=stride,
        seed=context.settings.seed,
        batch_size=min(MAX_SALIENCY_BATCH, context.batch_size),
    )
    conditions = (
        f"Baseline: {resolve_baseline_name(context, baseline)}; occlusion by {window}x{window} "
        f"pixels every {stride}; "
        f"SmoothGrad of {samples} images, noise {noise:g} of the range."
    )
    models = context.model, randomize_model(context)
    for number, image in enumerate(context.choose_images(count)):
        probabilities = context.predict_probabilities(image.pixels)
        classes = select_target_classes(context, target, image, int(probabilities.argmax()))
        ask = partial(query, x=context.prepare_input(image.pixels.unsqueeze(0)))
        maps = {
            k: [
                compute_map_pair(models, cam_layer, partial(ask, target=k), method)
                for method in methods
            ]
            for k in classes
        }
        log_saliency_maps(context, number, image, probabilities, maps, conditions)


def check_methods(methods: Sequence[str]) -> None:
    """Raise UsageError for an unknown attribution method."""
    if unknown := [name for name in methods if name not in ATTRIBUTION_METHODS]:
        raise UsageError(format_unknown_choice("saliency.methods", unknown[0], ATTRIBUTION_METHODS))


def choose_window(context: RunContext, window: int | None, stride: int | None) -> tuple[int, int]:
    """Return the side of occlusion's square and its stride, by default a fifth of the image and a
    third of that."""
    height, width = context.input_shape[1:]
    window = window or max(1, min(height, width) // 5)
    stride = stride or max(1, window // 3)
    if not 1 <= stride <= window <= min(height, width):
        raise UsageError(
            f"saliency: stride {stride} must be at most window {window}, and that at most the "
            f"image's {height}x{width}"
        )
    return window, stride


def find_cam_layer(context: RunContext, layer: str | None) -> str | None:
    """Return the name of the layer whose maps Grad-CAM weighs; None where the network has no
    maps."""
    last = context.last_spatial_block
    name = context.check_layer_name(layer, "saliency.layer") if layer else last
    if name is not None and len(context.output_shapes.get(name, ())) != 3:
        raise UsageError(f"saliency.layer: {name} has no maps; {last or 'none'} has")
    return name


def randomize_model(context: RunContext) -> nn.Module:
    """Return the network with randomized weights, its batch statistics from images of the split."""
    order = torch.randperm(len(context.images), generator=context.make_rng())
    sample = gather_images(context.images, order[:MAX_SALIENCY_BATCH].tolist())
    return copy_with_random_weights(
        context.model, context.make_rng(), context.prepare_input(sample)
    )


def compute_map_pair(
    models: tuple[nn.Module, nn.Module],
    cam_layer: str | None,
    ask: Callable[..., AttributionQuery],
    method: str,
) -> MapPair:
    """Compute one method's maps of `models`, a network and its randomized copy."""
    first, second = (
        ATTRIBUTION_METHODS[method](
            ask(model=each, cam_layer=get_layer(each, cam_layer) if cam_layer else None)
        )
        for each in models
    )
    return MapPair(method, first, second, rank_correlation(first, second))


def resolve_baseline_name(context: RunContext, baseline: str | None) -> str:
    """Return the baseline's name, by default black for light strokes on a dark background."""
    if baseline is not None:
        return baseline
    settings = parse_data_settings(context.trained.config["dataset"])
    return "black" if settings.light_on_dark else "mean"


def make_baseline(context: RunContext, baseline: str | None) -> Tensor:
    """Return the network's input for the baseline image. Raises UsageError for an unknown name."""
    name = resolve_baseline_name(context, baseline)
    black = context.prepare_input(torch.zeros(1, *context.trained.shape, dtype=torch.uint8))
    choices = {"black": black, "mean": torch.zeros_like(black)}
    if name not in choices:
        raise UsageError(format_unknown_choice("saliency.baseline", name, choices))
    return choices[name]


def select_target_classes(
    context: RunContext, target: str | int | None, image: SelectedImage, predicted: int
) -> list[int]:
    """Return the classes to be explained. Raises UsageError for an unknown name."""
    if target is None:
        return [predicted] if image.label in (None, predicted) else [predicted, image.label]
    if str(target) not in context.classes:
        raise UsageError(format_unknown_choice("saliency.target", str(target), context.classes))
    return [context.classes.index(str(target))]


def log_saliency_maps(
    context: RunContext,
    number: int,
    image: SelectedImage,
    probabilities: Tensor,
    maps: dict[int, list[MapPair]],
    conditions: str,
) -> None:
    """Log the figure of one image; a map that is blank has the reason in its place."""
    shown = GridCell(context.render_input(image.pixels.unsqueeze(0))[0])
    rows, labels, numbers, blank = [], [], dict[str, Any](), list[str]()
    for k, pairs in maps.items():
        name = context.classes[k]
        rows += make_saliency_rows(shown, pairs)
        role = describe_class(k, image.label, int(probabilities.argmax()))
        labels += [f"evidence for {name} ({role})", "the same, randomized weights"]
        blank += [reason for pair in pairs for reason in list_blank_reasons(pair, name)]
        numbers[name] = {pair.method: map_pair_to_dict(pair) for pair in pairs}
    note = f"{conditions} {SALIENCY_LEGEND}"
    title = f"{image.title}: {context.format_prediction(image, probabilities)}"
    methods = [pair.method for pair in next(iter(maps.values()))]
    figure = draw_image_grid(
        rows,
        title,
        row_labels=labels,
        column_labels=["the image", *methods],
        note=note,
        cell_inches=1.15,
    )
    result = {
        "image": image.name,
        "adaptations": list(image.adaptations),
        "maps": numbers,
        "probabilities": context.label_probabilities(probabilities),
    }
    alt_text = " ".join([note, *blank])  # for those who do not see the panels
    context.figure_log.log_figure(f"saliency_{number}", figure, result, title, alt_text)


def describe_class(k: int, label: int | None, predicted: int) -> str:
    """Return why a class is explained."""
    return "label" if k == label else "predicted" if k == predicted else "requested"


def make_saliency_rows(shown: GridCell, pairs: Sequence[MapPair]) -> list[list[GridCell]]:
    """Return the row of a class's maps, the image before them, and below it that of the randomized
    network."""
    trained = [make_attribution_cell(pair.trained, "") for pair in pairs]
    randomized = [
        make_attribution_cell(pair.randomized, format_rank_correlation(pair.correlation))
        for pair in pairs
    ]
    return [[shown, *trained], [GridCell(None), *randomized]]


def list_blank_reasons(pair: MapPair, name: str) -> list[str]:
    """Return a sentence for each of the two maps of a class that is blank."""
    maps = {"": pair.trained, ", randomized weights,": pair.randomized}
    return [
        f"{pair.method} for {name}{which} is blank: {attribution.blank_reason}."
        for which, attribution in maps.items()
        if attribution.blank_reason
    ]


def map_pair_to_dict(pair: MapPair) -> dict[str, Any]:
    return {
        "rank_correlation_to_randomized": pair.correlation,
        "blank_reason": pair.trained.blank_reason,
        "randomized_blank_reason": pair.randomized.blank_reason,
        **pair.trained.details,
    }


def make_attribution_cell(attribution: AttributionMap, caption: str) -> GridCell:
    kind: Literal["signed", "heat"] = "signed" if attribution.is_signed else "heat"
    reason = attribution.blank_reason or "zero everywhere"
    return GridCell(attribution.values, caption, kind, blank_reason=reason)


def format_rank_correlation(value: float | None) -> str:
    return "constant" if value is None else f"Spearman {value:.2f}"
