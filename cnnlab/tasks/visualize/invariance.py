"""`visualize invariance`: the chapter's "local invariance" of max pooling, measured."""

from collections.abc import Mapping, Sequence
from math import fsum
from operator import mul
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core.errors import UsageError
from cnnlab.core.hooks import capture
from cnnlab.core.quoting import printable
from cnnlab.data.dataset import gather_images
from cnnlab.data.operation import as_uint8
from cnnlab.interpret.invariance import (
    TRANSFORMATION_UNITS,
    TRANSFORMATIONS,
    mean_output_distance,
    relative_output_distance,
    unchanged_fraction,
)
from cnnlab.models.layers import FractionalMaxPool
from cnnlab.tasks.trained_run import TrainedRun, load_comparison_run
from cnnlab.tasks.visualize.context import NothingToShow, RunContext
from cnnlab.viz.curves import plot_layer_changes

POOLING_MODULES = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, FractionalMaxPool)
INVARIANCE_NOTE = (
    "The distance between a layer's outputs before and after the change, over that between two "
    "different images. "
    "Shifts are the mean of four directions, rotations of two."
)

Amounts = Mapping[str, Sequence[float]]  # {transformation: amounts}
# {layer: (mean distance between different images' outputs, largest magnitude)}
LayerReferences = dict[str, tuple[float, float]]
# {transformation: {layer: {measure: values by amount}}}
InvarianceMeasures = dict[str, dict[str, dict[str, list[float]]]]


def visualize_invariance(
    context: RunContext,
    *,
    count: int,
    shifts: list[int],
    rotations: list[float],
    darkening: list[float],
    against: str | None,
) -> None:
    """Log how much each layer's outputs change with the images, before and after each pooling;
    beside it another run's."""
    amounts: Amounts = {"shift": shifts, "rotation": rotations, "darkening": darkening}
    check_amounts(context, count, amounts)
    if len(context.images) < 2:
        raise NothingToShow(
            f"{context.settings.split} has one image: there is no distance to another"
        )
    index = torch.randperm(len(context.images), generator=context.make_rng())[:count].tolist()
    pixels = gather_images(context.images, index)
    labels = context.images.labels[index].cpu()
    batch_size = context.batch_size
    trained = context.trained
    runs = {trained.name: measure_invariance(trained, pixels, labels, amounts, batch_size)}
    if against is not None:
        other = load_comparison_run(
            trained, against, "invariance.against", context.device, context.settings.outputs
        )
        name = other.name if other.name not in runs else printable(str(other.folder))
        runs[name] = measure_invariance(other, pixels, labels, amounts, batch_size)
    title = format_invariance_headline(runs[trained.name], shifts)
    rows = [(name, make_change_panels(measures, amounts)) for name, measures in runs.items()]
    numbers = {"indices": index, "amounts": amounts, "runs": runs}
    figure = plot_layer_changes(rows, title)
    context.figure_log.log_figure("invariance", figure, numbers, title, INVARIANCE_NOTE)


def check_amounts(context: RunContext, count: int, amounts: Amounts) -> None:
    """Raise UsageError for too few images, or for amounts that make no sense."""
    smallest = [min(values, default=-1.0) for values in amounts.values()]
    if count < 2 or min(smallest) < 0:
        raise UsageError(
            "invariance: count must be at least 2, and each change needs at least one amount, none "
            "below 0"
        )
    if max(amounts["darkening"]) > 1 or max(amounts["shift"]) >= min(context.trained.shape[1:]):
        raise UsageError(
            "invariance: darkening must be at most 1, and a shift less than the image's side"
        )


def make_change_panels(
    measures: InvarianceMeasures, amounts: Amounts
) -> list[tuple[str, dict[str, Any]]]:
    """Return (x label, {layer: (amounts, distances)}) for each transformation."""
    return [
        (f"{change}, {unit}", extract_distances(measures[change], amounts[change]))
        for change, unit in TRANSFORMATION_UNITS.items()
    ]


def select_measured_outputs(trained: TrainedRun) -> dict[str, tuple[str, bool]]:
    """Return {label: (a module's name, whether its input is meant)}: both sides of each pooling,
    blocks without one, and the output."""
    selected: dict[str, tuple[str, bool]] = {}
    for name, child in trained.model.named_children():
        pools = [
            path for path, m in child.named_modules(prefix=name) if isinstance(m, POOLING_MODULES)
        ]
        if pools == [name] and selected:  # its input is the output of the block before
            before, _ = selected.popitem()
            selected |= label_pooling_sides(before, name)
            continue
        for pool in pools:
            selected |= label_pooling_sides(name, pool)
        if not pools and not isinstance(child, nn.Flatten | nn.Dropout | nn.ReLU):
            selected[name] = (name, False)
    return selected


def label_pooling_sides(block: str, pool: str) -> dict[str, tuple[str, bool]]:
    return {f"{block} before pooling": (pool, True), f"{block} after pooling": (pool, False)}


def compute_measured_outputs(
    trained: TrainedRun, pixels: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Return {label: outputs} for (N, C, H, W) uint8 images, all but the last after a ReLU; and the
    predictions."""
    selected, x = select_measured_outputs(trained), trained.prepare_input(pixels)
    before = [name for name, is_input in selected.values() if is_input]
    after = [name for name, is_input in selected.values() if not is_input]
    inputs, outputs, _ = capture(trained.model, x, before, after)
    values = {
        label: (inputs if is_input else outputs)[name]
        for label, (name, is_input) in selected.items()
    }
    *_, last = selected
    activations = {label: out if label == last else out.relu() for label, out in values.items()}
    return activations, values[last].argmax(1)


@torch.inference_mode()
def measure_invariance(
    trained: TrainedRun, pixels: Tensor, labels: Tensor, amounts: Amounts, batch_size: int
) -> InvarianceMeasures:
    """Measure every transformation at every amount: how far each layer's outputs move, the fraction
    that is unchanged, and the accuracy; the mean over batches, weighted by their size."""
    references = measure_references(trained, pixels, batch_size)
    batches = list(zip(pixels.split(batch_size), labels.split(batch_size), strict=True))
    weights = [len(images) / len(pixels) for images, _ in batches]
    parts = [measure_batch_invariance(trained, *batch, amounts, references) for batch in batches]

    def average(change: str, layer: str, measure: str) -> list[float]:
        by_amount = zip(*(part[change][layer][measure] for part in parts), strict=True)
        return [fsum(map(mul, weights, values)) for values in by_amount]

    return {
        change: {
            layer: {measure: average(change, layer, measure) for measure in measures}
            for layer, measures in layers.items()
        }
        for change, layers in parts[0].items()
    }


def measure_references(trained: TrainedRun, pixels: Tensor, batch_size: int) -> LayerReferences:
    """Return each layer's mean distance between an image's output and the previous image's, and its
    largest magnitude."""
    references: LayerReferences = {}
    others = pixels.roll(1, 0).split(batch_size)
    for batch, other in zip(pixels.split(batch_size), others, strict=True):
        other_outputs = compute_measured_outputs(trained, other)[0]
        for name, output in compute_measured_outputs(trained, batch)[0].items():
            distance, largest = references.get(name, (0.0, 0.0))
            distance += mean_output_distance(output, other_outputs[name]) * len(batch) / len(pixels)
            references[name] = distance, max(largest, float(output.abs().max()))
    return references


def measure_batch_invariance(
    trained: TrainedRun,
    pixels: Tensor,
    labels: Tensor,
    amounts: Amounts,
    references: LayerReferences,
) -> InvarianceMeasures:
    """Return `measure_invariance` of one batch; each transformed copy of it is compared by
    itself."""
    images = pixels.float() / 255
    outputs, predictions = compute_measured_outputs(trained, pixels)
    result: InvarianceMeasures = {}
    for change, transform in TRANSFORMATIONS.items():
        layers: dict[str, dict[str, list[float]]] = {
            name: {"relative_distance": [], "unchanged_fraction": []} for name in outputs
        }
        layers["all"] = {"accuracy": [], "prediction_consistency": []}
        for amount in amounts[change]:
            copies = [
                compare_with_unchanged(
                    outputs,
                    predictions,
                    labels,
                    *compute_measured_outputs(trained, as_uint8(copy)),
                    references,
                )
                for copy in transform(images, amount)
            ]
            for name, measures in layers.items():
                for measure, values in measures.items():
                    values.append(fmean(copy[name][measure] for copy in copies))
        result[change] = layers
    return result


def compare_with_unchanged(
    outputs: dict[str, Tensor],
    predictions: Tensor,
    labels: Tensor,
    changed_outputs: dict[str, Tensor],
    changed_predictions: Tensor,
    references: LayerReferences,
) -> dict[str, dict[str, float]]:
    """Compare one transformed copy's outputs and predictions with those of the images as they
    are."""
    measures = {
        name: {
            "relative_distance": relative_output_distance(output, changed_outputs[name], distance),
            "unchanged_fraction": unchanged_fraction(output, changed_outputs[name], largest),
        }
        for name, output in outputs.items()
        for distance, largest in [references[name]]
    }
    measures["all"] = {
        "accuracy": float((changed_predictions.cpu() == labels).float().mean()),
        "prediction_consistency": float((changed_predictions == predictions).float().mean()),
    }
    return measures


def extract_distances(
    layers: dict[str, dict[str, list[float]]], amounts: Sequence[float]
) -> dict[str, Any]:
    """Return {layer: (amounts, distances)}."""
    return {
        name: (amounts, measures["relative_distance"])
        for name, measures in layers.items()
        if name != "all"
    }


def format_invariance_headline(measures: InvarianceMeasures, shifts: Sequence[int]) -> str:
    """Say what the smallest shift does on both sides of the first pooling, or to the output."""
    smallest = min(
        (i for i, amount in enumerate(shifts) if amount), key=lambda i: shifts[i], default=0
    )
    layers, amount = measures["shift"], shifts[smallest]

    def distance(name: str) -> str:
        return f"{layers[name]['relative_distance'][smallest]:.2f}"

    shift = f"A shift of {amount} pixel{'s' * (amount != 1)} changes"
    scale = "of the distance to another image"
    before = next((name for name in layers if name.endswith("before pooling")), None)
    if before is not None:
        after = before.replace("before", "after")
        return f"{shift} {before} by {distance(before)} and after it by {distance(after)} {scale}"
    last = [name for name in layers if name != "all"][-1]
    return f"{shift} {last} by {distance(last)} {scale}"
