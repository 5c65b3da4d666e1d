"""`visualize activation_maximization`: the input that maximizes a class, a channel or a unit, made
from noise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.core.errors import UsageError, format_unknown_choice
from cnnlab.core.figure_log import figure_name
from cnnlab.core.hooks import capture_outputs, get_layer
from cnnlab.interpret.activation_maximization import maximize_activation, use_leaky_relu_gradients
from cnnlab.tasks.visualize.context import RunContext
from cnnlab.viz.image_grid import GridCell, draw_image_grid

UNIT_COLUMNS = 5
FIELD_TO_JITTER_RATIO = 12  # the jitter is at most the receptive field's side over this
MIN_SMOOTHNESS_SCALE = 1e-3  # where no real image activates a unit


def visualize_activation_maximization(
    context: RunContext,
    *,
    layer: str | None,
    units: list[int | str] | None,
    max_units: int,
    steps: int,
    lr: float,
    jitter: int,
    smoothness: float,
) -> None:
    """Make images for the classes and the channels of the last maps, or for the units of the layer
    that is named."""
    if max_units < 1 or steps < 1 or jitter < 0 or not lr > 0 or not smoothness >= 0:
        raise UsageError(
            "activation_maximization: max_units and steps must be at least 1, jitter and "
            "smoothness at least 0, lr "
            "above 0"
        )
    optimization = {"steps": steps, "lr": lr, "jitter": jitter, "seed": context.settings.seed}
    for name in select_layers(context, layer, units):
        if len(context.output_shapes.get(name, ())) not in (1, 3):
            raise UsageError(
                f"activation_maximization.layer: {name} gives no maps or units of its own"
            )
        selected = select_units(context, name, units, max_units)
        maximize_layer_units(context, name, selected, smoothness, optimization)


def select_layers(
    context: RunContext, layer: str | None, units: list[int | str] | None
) -> list[str]:
    """Return the layer that is named, or the output and, unless units are named, the last maps."""
    if layer is not None:
        return [context.check_layer_name(layer, "activation_maximization.layer")]
    output, maps = context.block_names[-1], context.last_spatial_block
    return [output] if units is not None or maps is None else [output, maps]


def select_units(
    context: RunContext, name: str, units: list[int | str] | None, most: int
) -> list[int]:
    """Return the numbers of the channels or units asked for. Raises UsageError for one that the
    layer lacks."""
    count = context.output_shapes[name][0]
    if units is None:
        return list(range(min(count, most)))
    if not units:
        raise UsageError("activation_maximization.units is empty; null takes the first `max_units`")
    classes = context.classes if name == context.block_names[-1] else ()
    return list(dict.fromkeys(find_unit(unit, name, count, classes) for unit in units))


def find_unit(unit: int | str, layer: str, count: int, classes: Sequence[str]) -> int:
    """Return a unit's number, given that or a class's name."""
    if str(unit) in classes:
        return classes.index(str(unit))
    if isinstance(unit, int) and 0 <= unit < count:
        return unit
    where = "activation_maximization.units"
    if classes:
        raise UsageError(format_unknown_choice(where, str(unit), classes))
    raise UsageError(f"{where}: {layer} has 0 to {count - 1:,}, and no {unit}")


def maximize_layer_units(
    context: RunContext,
    name: str,
    units: Sequence[int],
    smoothness: float,
    optimization: dict[str, Any],
) -> None:
    """Log a figure of a layer's maximized units, and how large they are on the best real image."""

    def score(pixels: Tensor) -> Tensor:
        x = context.trained.preprocess.normalize(pixels)
        return select_unit_activations(capture_outputs(context.model, x, [name])[name], units)

    top = context.split_activations.top_activations[name]
    best_real = [float(top.values[0, k]) for k in units]
    # A shift by a large part of the receptive field would average a small filter's best image away.
    field = min(context.receptive_fields[name].size)
    jitter = min(optimization["jitter"], field // FIELD_TO_JITTER_RATIO)
    optimization = optimization | {"jitter": jitter}
    cost = scale_smoothness(smoothness, best_real).to(context.device)
    size = (len(units), *context.input_shape)
    try:
        with use_leaky_relu_gradients(find_leaky_module(context, name)):
            images = maximize_activation(
                score, size, context.device, smoothness=cost, **optimization
            )
    except ValueError as error:
        raise UsageError(f"activation_maximization: {error}") from error
    with torch.inference_mode():
        activations = score(images).tolist()
    numbers = {
        "layer": name,
        "units": list(units),
        "activations": activations,
        "best_real_activations": best_real,
        "smoothness": smoothness,
    }
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    log_maximized_images(
        context, crop_to_receptive_field(context, name, pixels), numbers | optimization
    )


def scale_smoothness(smoothness: float, best_real: Sequence[float]) -> Tensor:
    """Return the cost of total variation for each unit, relative to its best real activation."""
    return smoothness * torch.tensor(best_real).clamp(min=MIN_SMOOTHNESS_SCALE)


def find_leaky_module(context: RunContext, name: str) -> nn.Module:
    """Return the module whose ReLUs let a dead unit have a gradient: the unit's layer, or, where
    the ReLU comes before that, the whole network. The output is never dead."""
    layer = get_layer(context.model, name)
    if name == context.block_names[-1]:
        return layer
    return layer if any(isinstance(m, nn.ReLU) for m in layer.modules()) else context.model


def log_maximized_images(context: RunContext, images: np.ndarray, numbers: dict[str, Any]) -> None:
    """Log (N, H, W, C) uint8 images and the activations they reach as a figure."""
    name = numbers["layer"]
    is_output = name == context.block_names[-1]
    labels = [context.classes[k] if is_output else f"#{k}" for k in numbers["units"]]
    pairs = list(zip(numbers["activations"], numbers["best_real_activations"], strict=True))
    cells = [
        GridCell(image, f"{label}\n{value:.3g} (real {real:.3g})")
        for image, label, (value, real) in zip(images, labels, pairs, strict=True)
    ]
    larger = sum(value > real for value, real in pairs)
    kind = "class" if is_output else context.get_unit_kind(name)
    title = (
        f"Activation maximization of {name}: {larger} of {len(cells)} images activate their {kind} "
        "more than any real "
        "image"
    )
    note = (
        f"Made from noise in {numbers['steps']} steps of Adam. Number: the {kind}'s activation, "
        "and (real) the largest "
        f"among {context.num_images_text} {context.settings.split} images. The label is what was "
        "asked for, not what "
        "an image shows."
    )
    rows = [cells[i : i + UNIT_COLUMNS] for i in range(0, len(cells), UNIT_COLUMNS)]
    figure = draw_image_grid(rows, title, note=note, cell_inches=1.3)
    stem = figure_name("activation_maximization", name)
    context.figure_log.log_figure(stem, figure, numbers, title, note)


def select_unit_activations(output: Tensor, units: Sequence[int]) -> Tensor:
    """Return image i's activation of unit units[i], (N,), of (N, K, h, w) or (N, K) outputs; of
    maps at the center."""
    if output.ndim == 4:
        output = output[..., output.shape[2] // 2, output.shape[3] // 2]
    rows = torch.arange(len(output), device=output.device)
    return output[rows, torch.tensor(list(units), device=output.device)]


def crop_to_receptive_field(context: RunContext, name: str, images: np.ndarray) -> np.ndarray:
    """Crop (N, H, W, C) images to the receptive field of the center unit of a layer with maps."""
    if len(context.output_shapes[name]) != 3:
        return images
    _, rows, columns = context.output_shapes[name]
    height, width = images.shape[1:3]
    field = context.receptive_fields[name]
    top, bottom, left, right = field.clip_window(rows // 2, columns // 2, height, width)
    return images[:, top:bottom, left:right]
