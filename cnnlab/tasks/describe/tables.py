"""Format a network's layers as tables of 80 columns and as JSON."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cnnlab.core.quoting import printable
from cnnlab.models.conv_arithmetic import ConvAxis, get_conv_axes
from cnnlab.models.summary import LayerSummary, sum_memory
from cnnlab.viz.network_diagram import LayerVolume

FLOAT32_BYTES = 4
LAYER_NAME_WIDTH = 13  # columns
VGG_CLAIMED_BYTES = 90e6  # an image, forward, that the chapter gives VGGNet


def format_decimal_bytes(count: float) -> str:
    """Return bytes in decimal units to three digits: `60.4 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            digits = ".3g" if count < 999.5 * size else ",.0f"
            return f"{count / size:{digits}} {unit}"
    return f"{count:,.0f} B"


def format_volume(volume: Sequence[int]) -> str:
    """Return (depth, height, width) as width x height x depth, the chapter's order."""
    return "x".join(str(side) for side in (*volume[:0:-1], volume[0]))


def shorten_layer_name(layer: LayerSummary) -> str:
    name = printable(layer.name)
    return name if len(name) < LAYER_NAME_WIDTH else f"…{name[-LAYER_NAME_WIDTH + 2 :]}"


def format_filters(layer: LayerSummary) -> str:
    """Return kernel size, stride and padding, as `5x5x1 s1 p2`."""
    if layer.kernel_size is None:
        return ""
    depth = (layer.input[0],) if layer.weights else ()
    size = "x".join(map(str, (*layer.kernel_size[::-1], *depth)))
    parts = [
        f"{letter}{format_pair(pair)}"
        for letter, pair in (("s", layer.stride), ("p", layer.padding))
        if pair
    ]
    return " ".join([size, *(part for part in parts if part != "p0")])


def format_pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[1]}x{pair[0]}"


def format_count(count: int) -> str:
    """Return a number with separators, and nothing for zero."""
    return f"{count:,}" if count else ""


def find_rounded_axes(layer: LayerSummary) -> tuple[ConvAxis, ...]:
    """Return width and height where the chapter's ceiling differs from PyTorch's floor."""
    axes = get_conv_axes(layer)
    if axes is None or all(axis.ceil_size == axis.floor_size for axis in axes):
        return ()
    return axes


def format_shape_table(layers: Sequence[LayerSummary]) -> Iterator[str]:
    """Yield each layer's shape and parameters; layers that change no volume and learn nothing
    are in the cost table."""
    head = f"{'layer':<{LAYER_NAME_WIDTH}}{'output':<13}{'filters':<16}"
    yield f"{head}{'weights':>13}{'biases':>8}{'receptive field':>16}"
    for layer in layers:
        if layer.parameters or layer.buffers or layer.output != layer.input:
            yield format_shape_row(layer)
    yield from format_rounding_notes(layers)


def format_shape_row(layer: LayerSummary) -> str:
    output = format_volume(layer.output) + ("*" if find_rounded_axes(layer) else "")
    field = format_volume((1, *layer.receptive_field.size)).removesuffix("x1")
    head = f"{shorten_layer_name(layer):<{LAYER_NAME_WIDTH}}{output:<13}"
    weights, biases = format_count(layer.weights), format_count(layer.biases)
    return f"{head}{format_filters(layer):<16}{weights:>13}{biases:>8}{field:>16}"


def format_rounding_notes(layers: Sequence[LayerSummary]) -> Iterator[str]:
    """Yield a note for each layer where the chapter rounds up and PyTorch down."""
    for layer in layers:
        if axes := find_rounded_axes(layer):
            sizes = "x".join(str(axis.ceil_size) for axis in axes)
            fact = f"{shorten_layer_name(layer)}: the chapter rounds up, to {sizes}"
            yield f"* {fact}; `layer={printable(layer.name)}` shows how"


def format_cost_table(layers: Sequence[LayerSummary], batch_size: int) -> Iterator[str]:
    """Yield each layer's work and memory; layers without either are left out."""
    yield f"{'':45}{'memory':>9}{'saved for backward':>26}"
    head = f"{'layer':<{LAYER_NAME_WIDTH}}{'multiply-adds':>16}{'FLOPs':>16}"
    yield f"{head}{'forward':>11}{'an image':>12}{f'batch {batch_size}':>12}"
    for layer in layers:
        forward, saved = layer.forward_memory, layer.saved_for_backward
        memory = (forward.per_image, saved.per_image, saved.for_batch(batch_size))
        if layer.multiply_adds or memory[0] or memory[2]:
            yield format_cost_row(layer, memory)


def format_cost_row(layer: LayerSummary, memory: tuple[int, int, int]) -> str:
    forward, image, batch = (format_decimal_bytes(count) if count else "" for count in memory)
    work = f"{format_count(layer.multiply_adds):>16}{format_count(layer.flops):>16}"
    row = (
        f"{shorten_layer_name(layer):<{LAYER_NAME_WIDTH}}{work}{forward:>11}{image:>12}{batch:>12}"
    )
    return row.rstrip()


def compute_totals(
    layers: Sequence[LayerSummary], shape: Sequence[int], batch_size: int, copies: int
) -> dict[str, int]:
    """Return the network's sums; memory is in bytes. `copies`: numbers that the optimizer keeps
    for each parameter."""
    parameters = sum(layer.parameters for layer in layers)
    forward = sum_memory([layer.forward_memory for layer in layers]).per_image
    saved = sum_memory([layer.saved_for_backward for layer in layers])
    outputs = sum(math.prod(layer.output) for layer in layers if layer.kind != "flatten")
    return {
        "parameters": parameters,
        "weights": sum(layer.weights for layer in layers),
        "biases": sum(layer.biases for layer in layers),
        "buffers": sum(layer.buffers for layer in layers),
        "multiply_adds": sum(layer.multiply_adds for layer in layers),
        "flops": sum(layer.flops for layer in layers),
        "forward_bytes": forward,
        "forward_out_of_place_bytes": FLOAT32_BYTES * outputs,
        "forward_and_gradients_bytes": 2 * forward,
        "image_bytes": FLOAT32_BYTES * math.prod(shape),
        "saved_for_backward_bytes": saved.per_image,
        "saved_for_backward_batch_bytes": saved.for_batch(batch_size),
        "batch_size": batch_size,
        "parameter_bytes": FLOAT32_BYTES * parameters,
        "gradient_bytes": FLOAT32_BYTES * parameters,
        "optimizer_bytes": FLOAT32_BYTES * parameters * copies,
    }


def format_totals(totals: dict[str, int]) -> Iterator[str]:
    """Yield the sums as labeled lines."""
    size = {
        key.removesuffix("_bytes"): format_decimal_bytes(count)
        for key, count in totals.items()
        if key.endswith("_bytes")
    }
    weights, biases = f"{totals['weights']:,} weights", f"{totals['biases']:,} biases"
    yield f"parameters    {totals['parameters']:,}: {weights} and {biases}"
    if totals["buffers"]:
        yield f"              and {totals['buffers']:,} numbers in buffers, not learned"
    flops = f"{totals['flops']:,} FLOPs an image"
    yield f"forward       {totals['multiply_adds']:,} multiply-adds = {flops}"
    yield "              (convolutions and matrix products; not biases, ReLU, pooling)"
    yield f"memory        {size['forward']} an image: every output once, float32, ReLU in place"
    yield f"              {size['forward_and_gradients']} with a gradient for each of them"
    yield f"              {size['saved_for_backward']} an image that PyTorch saves for backward,"
    batch = f"{size['saved_for_backward_batch']} for a batch of {totals['batch_size']}"
    yield f"              {batch}: with the image and indices of maxima"
    optimizer = f"{size['gradient']} gradients, {size['optimizer']} optimizer"
    yield f"in addition   {size['parameter']} parameters, {optimizer}"


def format_largest_layers(layers: Sequence[LayerSummary]) -> Iterator[str]:
    """Yield the layer with the most of each cost, and its share of the total."""
    measures: dict[str, Callable[[LayerSummary], int]] = {
        "the parameters": lambda layer: layer.parameters,
        "the multiply-adds": lambda layer: layer.multiply_adds,
        "the forward memory": lambda layer: layer.forward_memory.per_image,
        "the memory saved for backward": lambda layer: layer.saved_for_backward.per_image,
    }
    for number, (cost, measure) in enumerate(measures.items()):
        total, largest = sum(map(measure, layers)), max(layers, key=measure)
        if total:
            share = f"{measure(largest) / total:.0%} of {cost}"
            yield f"{'' if number else 'largest':<14}{shorten_layer_name(largest)} has {share}"


def format_vgg_claim(totals: dict[str, int]) -> Iterator[str]:
    """Yield the chapter's memory for VGGNet beside ours."""
    in_place, out_of_place = totals["forward_bytes"], totals["forward_out_of_place_bytes"]
    yield "The chapter: VGGNet takes about 90 MB an image forward, over 180 MB backward."
    yield f"Ours: {format_with_double(in_place)}, every output once and ReLU in place, or"
    yield f"{format_with_double(out_of_place)} where ReLU and dropout have maps of their own."
    claim, *ours = (
        f"{count / FLOAT32_BYTES / 1e6:.1f}"
        for count in (VGG_CLAIMED_BYTES, in_place, out_of_place)
    )
    yield f"90 MB are {claim} million float32 numbers; these are {ours[0]} and {ours[1]} million."


def format_with_double(count: int) -> str:
    return f"{format_decimal_bytes(count)} and {format_decimal_bytes(2 * count)}"


def layer_to_dict(layer: LayerSummary, batch_size: int) -> dict[str, Any]:
    """Return a layer for JSON. Volumes are [depth, height, width]; memory is in bytes."""
    return {
        "name": layer.name,
        "kind": layer.kind,
        "input": list(layer.input),
        "output": list(layer.output),
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "weights": layer.weights,
        "biases": layer.biases,
        "buffers": layer.buffers,
        "multiply_adds": layer.multiply_adds,
        "flops": layer.flops,
        "forward_bytes": layer.forward_memory.per_image,
        "saved_for_backward_bytes": layer.saved_for_backward.per_image,
        "saved_for_backward_batch_bytes": layer.saved_for_backward.for_batch(batch_size),
        "receptive_field": list(layer.receptive_field.size),
    }


def group_by_volume(layers: Sequence[LayerSummary]) -> list[list[LayerSummary]]:
    """Return runs of layers whose output volume is the same; a pooling starts a run."""
    groups: list[list[LayerSummary]] = []
    for layer in layers:
        if layer.kind == "flatten":
            continue
        is_pooling = layer.kind.endswith("pooling")
        if groups and groups[-1][0].output == layer.output and not is_pooling:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return groups


def build_diagram_volumes(
    layers: Sequence[LayerSummary], shape: Sequence[int]
) -> list[LayerVolume]:
    """Return the image and each volume that differs from the one before, named by the first layer
    that has it and the last one of them that learns."""
    volumes = [LayerVolume("image", *shape)]
    for group in group_by_volume(layers):
        learned = [
            layer.name for layer in group if layer.weights and layer.kind != "batch normalization"
        ]
        name = " to ".join(dict.fromkeys([group[0].name, *learned[-1:]]))
        depth, height, width = (*group[0].output, 1, 1)[:3]
        volumes.append(LayerVolume(name, depth, height, width))
    return volumes
