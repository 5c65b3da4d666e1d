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
LayerReferences = dict[
    str, tuple[float, float]
]  # of each layer: how far other pictures are, and its largest magnitude
InvarianceMeasures = dict[
    str, dict[str, dict[str, list[float]]]
]  # of each change, of each layer, measures by amount


def visualize_invariance(
    look: RunContext,
    *,
    count: int,
    shifts: list[int],
    rotations: list[float],
    darkening: list[float],
    against: str | None,
) -> None:
    """How far each layer moves when its pictures do, before and after each pooling; beside it another run."""
    amounts: dict[str, Sequence[float]] = {
        "shift": shifts,
        "rotation": rotations,
        "darkening": darkening,
    }
    if (
        count < 2
        or min(map(len, amounts.values())) < 1
        or any(a < 0 for one in amounts.values() for a in one)
    ):
        raise UsageError(
            "invariance: count at least 2, and of each change at least one amount, none below 0"
        )
    if max(darkening) > 1 or max(shifts) >= min(look.trained.shape[1:]):
        raise UsageError("invariance: no darkening above 1, and no shift beyond the picture")
    if len(look.images) < 2:
        raise NothingToShow(
            f"{look.settings.split} has one picture: nothing says how far apart others are"
        )
    index = torch.randperm(len(look.images), generator=look.make_rng())[:count].tolist()
    pixels, labels = gather_images(look.images, index), look.images.labels[index].cpu()
    found = {look.trained.name: measure_invariance(look.trained, pixels, labels, amounts, look)}
    if against is not None:
        other = load_comparison_run(
            look.trained, against, "invariance.against", look.device, look.settings.outputs
        )
        name = other.name
        found[name if name not in found else printable(str(other.folder))] = measure_invariance(
            other, pixels, labels, amounts, look
        )
    rows = [
        (
            name,
            [
                (
                    f"{change}, {TRANSFORMATION_UNITS[change]}",
                    extract_distances(one[change], amounts[change]),
                )
                for change in TRANSFORMATIONS
            ],
        )
        for name, one in found.items()
    ]
    title = format_invariance_headline(next(iter(found.values())), shifts)
    numbers = {"pictures": index, "amounts": amounts, "runs": found}
    text = (
        "The distance between a layer's outputs before and after the change, over that between two different pictures. "
        "Shifts are the mean of four ways, rotations of two."
    )
    look.figure_log.log_figure("invariance", plot_layer_changes(rows, title), numbers, title, text)


def select_measured_outputs(trained: TrainedRun) -> dict[str, tuple[str, bool]]:
    """{what is drawn: (a module's name, whether what goes in is meant)}: both sides of each pooling, blocks without
    one, and the output."""
    found: dict[str, tuple[str, bool]] = {}
    for name, child in trained.model.named_children():
        pools = [
            inner for inner, m in child.named_modules(prefix=name) if isinstance(m, POOLING_MODULES)
        ]
        if pools == [name] and found:  # what goes into it is the block before
            before, _ = found.popitem()
            found |= {
                f"{before} before pooling": (name, True),
                f"{before} after pooling": (name, False),
            }
            continue
        for pool in pools:
            found |= {
                f"{name} before pooling": (pool, True),
                f"{name} after pooling": (pool, False),
            }
        if not pools and not isinstance(child, (nn.Flatten, nn.Dropout, nn.ReLU)):
            found[name] = (name, False)
    return found


def compute_measured_outputs(
    trained: TrainedRun, pixels: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """(N, C, H, W) uint8 -> {what is drawn: outputs}, all but the last after a ReLU; and the predictions."""
    wanted, given = select_measured_outputs(trained), trained.prepare_input(pixels)
    before = [name for name, inside in wanted.values() if inside]
    after = [name for name, inside in wanted.values() if not inside]
    entering, leaving, _ = capture(trained.model, given, before, after)
    *_, last = wanted
    seen = {
        label: (entering if inside else leaving)[name] for label, (name, inside) in wanted.items()
    }
    return {label: out if label == last else out.relu() for label, out in seen.items()}, seen[
        last
    ].argmax(1)


@torch.inference_mode()
def measure_invariance(
    trained: TrainedRun,
    pixels: Tensor,
    labels: Tensor,
    amounts: Mapping[str, Sequence[float]],
    look: RunContext,
) -> InvarianceMeasures:
    """Every change at every amount: how far each layer moves, the share of its outputs that stay, and the accuracy; the
    mean of as many pictures at once as go through the network together."""
    chunks = list(zip(pixels.split(look.batch_size), labels.split(look.batch_size), strict=True))
    share = [len(part) / len(pixels) for part, _ in chunks]
    yard = measure_references(trained, pixels, look.batch_size)
    ones = [measure_batch_invariance(trained, *chunk, amounts, yard) for chunk in chunks]
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


def measure_references(trained: TrainedRun, pixels: Tensor, at_once: int) -> LayerReferences:
    """What each layer's changes are held against, of all pictures, each beside the one before it."""
    found: LayerReferences = {}
    for part, others in zip(pixels.split(at_once), pixels.roll(1, 0).split(at_once), strict=True):
        beyond = compute_measured_outputs(trained, others)[0]
        for name, out in compute_measured_outputs(trained, part)[0].items():
            far, largest = found.get(name, (0.0, 0.0))
            far += mean_output_distance(out, beyond[name]) * len(part) / len(pixels)
            found[name] = far, max(largest, float(out.abs().max()))
    return found


def measure_batch_invariance(
    trained: TrainedRun,
    pixels: Tensor,
    labels: Tensor,
    amounts: Mapping[str, Sequence[float]],
    yard: LayerReferences,
) -> InvarianceMeasures:
    """`measured` for pictures that all go through the network at once; each changed copy of them by itself."""
    floats = pixels.float() / 255
    base, first = compute_measured_outputs(trained, pixels)
    found: InvarianceMeasures = {}
    for change, make in TRANSFORMATIONS.items():
        rows: dict[str, dict[str, list[float]]] = {
            name: {"distance": [], "unchanged": []} for name in base
        }
        rows["all"] = {"accuracy": [], "same_prediction": []}
        for amount in amounts[change]:
            copies = [
                compare_with_unchanged(
                    base, first, labels, *compute_measured_outputs(trained, as_uint8(one)), yard
                )
                for one in make(floats, amount)
            ]
            for name, measures in rows.items():
                for measure, values in measures.items():
                    values.append(fmean(copy[name][measure] for copy in copies))
        found[change] = rows
    return found


def compare_with_unchanged(
    base: dict[str, Tensor],
    first: Tensor,
    labels: Tensor,
    after: dict[str, Tensor],
    said: Tensor,
    yard: LayerReferences,
) -> dict[str, dict[str, float]]:
    """One changed copy's outputs and predictions beside those of the pictures as they are."""
    found = {
        name: {
            "distance": relative_output_distance(out, after[name], yard[name][0]),
            "unchanged": unchanged_fraction(out, after[name], yard[name][1]),
        }
        for name, out in base.items()
    }
    right, same = (said.cpu() == labels), (said == first)
    return found | {
        "all": {
            "accuracy": float(right.float().mean()),
            "same_prediction": float(same.float().mean()),
        }
    }


def extract_distances(
    layers: dict[str, dict[str, list[float]]], amounts: Sequence[float]
) -> dict[str, Any]:
    return {name: (amounts, one["distance"]) for name, one in layers.items() if name != "all"}


def format_invariance_headline(found: InvarianceMeasures, shifts: Sequence[int]) -> str:
    """What the smallest shift does on both sides of the first pooling, or to the output."""
    small = min(
        (i for i, amount in enumerate(shifts) if amount), key=lambda i: shifts[i], default=0
    )
    layers, pixels = found["shift"], f"{shifts[small]} pixel{'s' * (shifts[small] != 1)}"
    before = [name for name in layers if name.endswith("before pooling")]
    if before:
        after = before[0].replace("before", "after")
        one, two = (layers[name]["distance"][small] for name in (before[0], after))
        return f"A shift of {pixels} moves {before[0]} by {one:.2f}, and after it by {two:.2f}, of another picture"
    last = [name for name in layers if name != "all"][-1]
    return f"A shift of {pixels} moves {last} by {layers[last]['distance'][small]:.2f} of another picture"
