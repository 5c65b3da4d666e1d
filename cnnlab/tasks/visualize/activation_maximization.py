"""`visualize activation_maximization`: the picture that excites a class, a channel or a unit most, made from nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core.errors import UsageError, format_unknown_choice
from cnnlab.core.hooks import capture_outputs
from cnnlab.core.hooks import get_layer as layer_of
from cnnlab.interpret import activation_maximization as dreams
from cnnlab.tasks.visualize.context import RunContext
from cnnlab.viz.image_grid import GridCell, draw_image_grid

UNIT_COLUMNS = 5
FIELD_TO_JITTER_RATIO = 12  # of what a unit sees: more it is not moved by


def visualize_activation_maximization(
    look: RunContext,
    *,
    layer: str | None,
    units: list[int | str] | None,
    max_units: int,
    steps: int,
    lr: float,
    jitter: int,
    smoothness: float,
) -> None:
    """Pictures for the classes and for the last maps' channels, or for those of the layer that is named."""
    if max_units < 1 or steps < 1 or jitter < 0 or not lr > 0 or not smoothness >= 0:
        raise UsageError(
            "activation_maximization: max_units and steps at least 1, jitter and smoothness at least 0, lr above 0"
        )
    climb = {"steps": steps, "lr": lr, "jitter": jitter, "seed": look.settings.seed}
    last = look.block_names[-1]
    if layer is not None:
        names = [look.check_layer_name(layer, "activation_maximization.layer")]
    else:
        names = (
            [last]
            if units is not None or look.last_spatial_block is None
            else [last, look.last_spatial_block]
        )
    for name in names:
        if len(look.output_shapes.get(name, ())) not in (1, 3):
            raise UsageError(f"activation_maximization.layer: {name} gives no maps or units of its own")
        maximize_layer_units(
            look, name, select_units(look, name, units, max_units), smoothness, climb
        )


def select_units(
    look: RunContext, name: str, units: list[int | str] | None, most: int
) -> list[int]:
    """The channels or units asked for. Raises UsageError for one that the layer does not have."""
    count = look.output_shapes[name][0]
    if units is None:
        return list(range(min(count, most)))
    classes = look.classes if name == look.block_names[-1] else ()
    if not units:
        raise UsageError("activation_maximization.units is empty; null takes the first `max_units`")
    numbers = []
    for unit in units:
        if str(unit) in classes:
            numbers.append(classes.index(str(unit)))
        elif isinstance(unit, int) and 0 <= unit < count:
            numbers.append(unit)
        elif classes:
            raise UsageError(format_unknown_choice("activation_maximization.units", str(unit), classes))
        else:
            raise UsageError(f"activation_maximization.units: {name} has 0 to {count - 1:,}, and no {unit}")
    return list(dict.fromkeys(numbers))


def maximize_layer_units(
    look: RunContext, name: str, units: Sequence[int], smoothness: float, climb: dict[str, Any]
) -> None:
    """A figure of a layer's dreams, beside each how far the best real picture comes."""
    depth, height, width = look.input_shape

    def score(pixels: Tensor) -> Tensor:
        return select_unit_activations(
            capture_outputs(look.model, look.trained.preprocess.normalize(pixels), [name])[name],
            units,
        )

    peaks = look.split_activations.top_activations[name]
    best = [float(peaks.values[0, k]) for k in units]
    # A move by a large part of what the unit sees would average a small filter's best picture away.
    sees = min(look.receptive_fields[name].size)
    climb = climb | {"jitter": min(climb["jitter"], sees // FIELD_TO_JITTER_RATIO)}
    cost = smoothness * torch.tensor(best, device=look.device).clamp(min=1e-3)
    try:
        with dreams.use_leaky_relu_gradients(find_leaky_module(look, name)):
            made = dreams.maximize_activation(
                score, (len(units), depth, height, width), look.device, smoothness=cost, **climb
            )
    except ValueError as error:
        raise UsageError(f"activation_maximization: {error}") from error
    with torch.inference_mode():
        reached = score(made).tolist()
    found = {
        "layer": name,
        "units": list(units),
        "reached": reached,
        "best_real": best,
        "smoothness": smoothness,
    }
    log_maximized_images(
        look,
        crop_to_receptive_field(look, name, (made * 255).round().byte().permute(0, 2, 3, 1).cpu()),
        found | climb,
    )


def find_leaky_module(look: RunContext, name: str) -> nn.Module:
    """Where a silent unit is let know what would wake it: its layer, or, where the ReLU stands before that, the whole
    network. The output is never silent."""
    layer = layer_of(look.model, name)
    own = name == look.block_names[-1] or any(isinstance(one, nn.ReLU) for one in layer.modules())
    return layer if own else look.model


def log_maximized_images(look: RunContext, pictures: Tensor, found: dict[str, Any]) -> None:
    """(N, H, W, C) uint8 dreams and what they reached, as a figure."""
    name, reached, best = found["layer"], found["reached"], found["best_real"]
    final = name == look.block_names[-1]
    labels = [look.classes[k] if final else f"#{k}" for k in found["units"]]
    captions = [
        f"{one}\n{value:.3g} (real {real:.3g})"
        for one, value, real in zip(labels, reached, best, strict=True)
    ]
    cells = [
        GridCell(picture.numpy(), caption)
        for picture, caption in zip(pictures, captions, strict=True)
    ]
    beaten = sum(value > real for value, real in zip(reached, best, strict=True))
    what = "class" if final else "channel" if len(look.output_shapes[name]) == 3 else "unit"
    title = f"Dreams of {name}: {beaten} of {len(cells)} excite their {what} more than any real picture does"
    note = (
        f"Made from noise in {found['steps']} steps of Adam. Number: the {what}'s value, and (real) the largest among "
        f"{look.num_images_text} {look.settings.split} pictures. A label under a dream is what was asked for, not what one "
        "sees in it."
    )
    rows = [cells[i : i + UNIT_COLUMNS] for i in range(0, len(cells), UNIT_COLUMNS)]
    look.figure_log.log_figure(
        f"activation_maximization_{name.replace('.', '_')}",
        draw_image_grid(rows, title, note=note, cell_inches=1.3),
        found,
        title,
        note,
    )


def select_unit_activations(out: Tensor, units: Sequence[int]) -> Tensor:
    """(N, K, h, w) or (N, K) outputs, N units -> (N,): each picture's own unit; of maps the one in the middle."""
    if out.ndim == 4:
        out = out[..., out.shape[2] // 2, out.shape[3] // 2]
    return out[
        torch.arange(len(out), device=out.device), torch.tensor(list(units), device=out.device)
    ]


def crop_to_receptive_field(look: RunContext, name: str, pictures: Tensor) -> Tensor:
    """(N, H, W, C) -> the part that the middle unit of a layer with maps sees."""
    if len(look.output_shapes[name]) != 3:
        return pictures
    _, rows, columns = look.output_shapes[name]
    height, width = pictures.shape[1:3]
    field = look.receptive_fields[name]
    top, bottom, left, right = field.clip_window(rows // 2, columns // 2, height, width)
    return pictures[:, top:bottom, left:right]
