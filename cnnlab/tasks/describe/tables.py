"""A network's anatomy as tables of 80 columns, and as JSON."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cnnlab.core.quoting import printable
from cnnlab.models.conv_arithmetic import get_conv_axes
from cnnlab.models.summary import LayerSummary, sum_memory
from cnnlab.viz.network_diagram import LayerVolume

FLOAT32_BYTES = 4  # bytes of a float32
LAYER_NAME_WIDTH = 13  # columns of a layer's name
VGG_CLAIMED_BYTES = 90e6  # bytes a picture, forward, that the chapter gives VGGNet


def format_decimal_bytes(count: float) -> str:
    """Bytes in decimal units, to three digits."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return (
                f"{count / size:.3g} {unit}"
                if count < 999.5 * size
                else f"{count / size:,.0f} {unit}"
            )
    return f"{count:,.0f} B"


def format_volume(volume: Sequence[int]) -> str:
    """(depth, height, width) as width x height x depth, the chapter's order."""
    return "x".join(str(side) for side in (*volume[:0:-1], volume[0]))


def shorten_layer_name(layer: LayerSummary) -> str:
    name = printable(layer.name)
    return name if len(name) < LAYER_NAME_WIDTH else f"…{name[-LAYER_NAME_WIDTH + 2 :]}"


def format_filters(layer: LayerSummary) -> str:
    """Extent, stride, padding, as 5x5x1 s1 p2."""
    if layer.kernel_size is None:
        return ""
    deep = (layer.input[0],) if layer.weights else ()
    size = "x".join(map(str, (*layer.kernel_size[::-1], *deep)))
    words = [
        f"{letter}{format_pair(pair)}"
        for letter, pair in (("s", layer.stride), ("p", layer.padding))
        if pair
    ]
    return " ".join([size, *(word for word in words if word != "p0")])


def format_pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[1]}x{pair[0]}"


def format_shape_table(layers: Sequence[LayerSummary]) -> Iterator[str]:
    """What each layer is made of; those that change no volume and learn nothing are in the other table."""
    yield f"{'layer':<{LAYER_NAME_WIDTH}}{'output':<13}{'filters':<18}{'weights':>13}{'biases':>8}{'sees':>12}"
    for layer in layers:
        if layer.parameters or layer.buffers or layer.output != layer.input:
            found = get_conv_axes(layer)
            mark = "*" if found and any(side.ceil_size != side.floor_size for side in found) else ""
            field = format_volume((1, *layer.receptive_field.size)).removesuffix("x1")
            numbers = [f"{n:,}" if n else "" for n in (layer.weights, layer.biases)]
            head = f"{shorten_layer_name(layer):<{LAYER_NAME_WIDTH}}{format_volume(layer.output) + mark:<13}{format_filters(layer):<18}"
            yield f"{head}{numbers[0]:>13}{numbers[1]:>8}{field:>12}"
    if any("*" in row for row in format_rounding_notes(layers)):
        yield from format_rounding_notes(layers)


def format_rounding_notes(layers: Sequence[LayerSummary]) -> Iterator[str]:
    """Where the chapter's ceiling is not PyTorch's floor."""
    for layer in layers:
        found = get_conv_axes(layer)
        if found and any(side.ceil_size != side.floor_size for side in found):
            sizes = "x".join(str(side.ceil_size) for side in found)
            yield f"* {shorten_layer_name(layer)}: the chapter rounds up, to {sizes}; `layer={printable(layer.name)}` shows how"


def format_cost_table(layers: Sequence[LayerSummary], batch: int) -> Iterator[str]:
    """What each layer asks for."""
    yield f"{'':45}{'memory':>9}{'kept for backward':>26}"
    head = f"{'layer':<{LAYER_NAME_WIDTH}}{'multiply-adds':>16}{'FLOPs':>16}"
    yield f"{head}{'forward':>11}{'a picture':>12}{f'batch {batch}':>12}"
    for layer in layers:
        if not (
            layer.multiply_adds
            or layer.forward_memory.per_image
            or layer.saved_for_backward.for_batch(batch)
        ):
            continue
        work = [f"{n:,}" if n else "" for n in (layer.multiply_adds, layer.flops)]
        held = [
            format_decimal_bytes(n) if n else ""
            for n in (
                layer.forward_memory.per_image,
                layer.saved_for_backward.per_image,
                layer.saved_for_backward.for_batch(batch),
            )
        ]
        yield f"{shorten_layer_name(layer):<{LAYER_NAME_WIDTH}}{work[0]:>16}{work[1]:>16}{held[0]:>11}{held[1]:>12}{held[2]:>12}".rstrip()


def compute_totals(
    layers: Sequence[LayerSummary], shape: Sequence[int], batch: int, copies: int
) -> dict[str, int]:
    """The network's sums; memory in bytes. `copies`: numbers that the optimizer keeps for each parameter."""
    parameters = sum(layer.parameters for layer in layers)
    forward, kept = (
        sum_memory([getattr(layer, what) for layer in layers])
        for what in ("forward_memory", "saved_for_backward")
    )
    return {
        "parameters": parameters,
        "weights": sum(layer.weights for layer in layers),
        "biases": sum(layer.biases for layer in layers),
        "buffers": sum(layer.buffers for layer in layers),
        "multiply_adds": sum(layer.multiply_adds for layer in layers),
        "flops": sum(layer.flops for layer in layers),
        "forward_bytes": forward.per_image,
        "forward_out_of_place_bytes": FLOAT32_BYTES
        * sum(math.prod(la.output) for la in layers if la.kind != "flatten"),
        "forward_and_gradients_bytes": 2 * forward.per_image,
        "image_bytes": FLOAT32_BYTES * math.prod(shape),
        "saved_for_backward_bytes": kept.per_image,
        "saved_for_backward_batch_bytes": kept.for_batch(batch),
        "batch_size": batch,
        "parameter_bytes": FLOAT32_BYTES * parameters,
        "gradient_bytes": FLOAT32_BYTES * parameters,
        "optimizer_bytes": FLOAT32_BYTES * parameters * copies,
    }


def format_totals(t: dict[str, int]) -> Iterator[str]:
    """The sums in words."""
    yield f"parameters    {t['parameters']:,}: {t['weights']:,} weights and {t['biases']:,} biases"
    if t["buffers"]:
        yield f"              and {t['buffers']:,} numbers that are kept, not learned"
    yield f"forward       {t['multiply_adds']:,} multiply-adds = {t['flops']:,} FLOPs a picture"
    yield "              (convolutions and products; not biases, ReLU, pooling)"
    yield f"memory        {format_decimal_bytes(t['forward_bytes'])} a picture: every output once, float32, ReLU in place"
    yield f"              {format_decimal_bytes(t['forward_and_gradients_bytes'])} with a gradient for each of them"
    yield f"              {format_decimal_bytes(t['saved_for_backward_bytes'])} a picture that PyTorch keeps until backward,"
    batch = f"{format_decimal_bytes(t['saved_for_backward_batch_bytes'])} for a batch of {t['batch_size']}"
    yield f"              {batch}: the picture and places of maxima too"
    sizes = [
        format_decimal_bytes(t[f"{what}_bytes"]) for what in ("parameter", "gradient", "optimizer")
    ]
    yield f"beside it     {sizes[0]} parameters, {sizes[1]} gradients, {sizes[2]} optimizer"


def format_largest_layers(layers: Sequence[LayerSummary]) -> Iterator[str]:
    """Which layer has the most of each, and what share of the whole."""
    measures: dict[str, Callable[[LayerSummary], int]] = {
        "the parameters": lambda layer: layer.parameters,
        "the multiply-adds": lambda layer: layer.multiply_adds,
        "the memory forward": lambda layer: layer.forward_memory.per_image,
        "what is kept for backward": lambda layer: layer.saved_for_backward.per_image,
    }
    for n, (what, measure) in enumerate(measures.items()):
        whole, top = sum(map(measure, layers)), max(layers, key=measure)
        if whole:
            yield f"{'' if n else 'biggest':<14}{shorten_layer_name(top)} has {measure(top) / whole:.0%} of {what}"


def format_vgg_claim(t: dict[str, int]) -> Iterator[str]:
    """The chapter's memory for VGGNet beside ours."""
    once, apart = t["forward_bytes"], t["forward_out_of_place_bytes"]
    yield "The chapter: VGGNet takes about 90 MB an image forward, over 180 MB backward."
    yield f"Ours: {format_decimal_bytes(once)} and {format_decimal_bytes(2 * once)}, every output once and ReLU in place, or"
    yield f"{format_decimal_bytes(apart)} and {format_decimal_bytes(2 * apart)} where ReLU and dropout have maps of their own."
    claim, *ours = (
        f"{count / FLOAT32_BYTES / 1e6:.1f}" for count in (VGG_CLAIMED_BYTES, once, apart)
    )
    yield f"90 MB are {claim} million float32 numbers; these are {ours[0]} and {ours[1]} million."


def layer_to_dict(layer: LayerSummary, batch: int) -> dict[str, Any]:
    """A layer for programs. Volumes are [depth, height, width]; memory is in bytes."""
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
        "saved_for_backward_batch_bytes": layer.saved_for_backward.for_batch(batch),
        "receptive_field": list(layer.receptive_field.size),
    }


def build_diagram_volumes(
    layers: Sequence[LayerSummary], shape: Sequence[int]
) -> list[LayerVolume]:
    """The picture and each volume that is unlike the one before, under the names of the layers that put it out: the
    first that has one, and how many of them learn."""
    runs: list[list[LayerSummary]] = []
    for layer in layers:
        if layer.kind == "flatten":
            continue
        if runs and runs[-1][0].output == layer.output and not (layer.kind.endswith("pooling")):
            runs[-1].append(layer)
        else:
            runs.append([layer])
    drawn = [LayerVolume("picture", *shape)]
    for run in runs:
        learned = [
            layer.name for layer in run if layer.weights and layer.kind != "batch normalization"
        ]
        name = " to ".join(dict.fromkeys([run[0].name, *learned[-1:]]))
        depth, height, width = (*run[0].output, 1, 1)[:3]
        drawn.append(LayerVolume(name, depth, height, width))
    return drawn
