"""Receptive fields: which rows and columns of a network's input each unit of each layer can see.

Interval arithmetic, layer by layer, on shapes alone (Dumoulin & Visin 2016 for the sizes; Araujo et al. 2019 for the
fields). Rows and columns are independent of each other: each axis is a list of intervals, one an output position.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cnnlab.models.layers import FractionalMaxPool, ImageShape

Interval = tuple[int, int]  # from, to, the latter not included


@dataclass(frozen=True)
class ReceptiveField:
    """What the units of a layer see of the network's input. `rows`: of each output row, padding counted as though it
    were picture, so that it may begin below 0 and end beyond the picture. `seen_rows`: of these what is there, and can
    be seen through every layer between; empty, (0, 0), where that is padding alone. Columns alike."""

    rows: tuple[Interval, ...]
    columns: tuple[Interval, ...]
    visible_rows: tuple[Interval, ...]
    visible_columns: tuple[Interval, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the largest, in pixels of the input, padding counted."""
        height, width = (
            max((high - low for low, high in axis), default=0) for axis in (self.rows, self.columns)
        )
        return height, width

    def clip_window(self, i: int, j: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, bottom, left, right), bottom and right not included, that the unit at row `i`, column `j` sees of a
        picture of so many pixels. Units of a fully connected layer are at 0, 0. Raises IndexError."""
        top, bottom = (min(max(row, 0), height) for row in self.visible_rows[i])
        left, right = (min(max(column, 0), width) for column in self.visible_columns[j])
        return top, bottom, left, right


@dataclass(frozen=True)
class FieldAxis:
    """One axis of a layer: its fields, and of two neighbours' fields how far apart they begin."""

    padded: tuple[Interval, ...]
    visible: tuple[Interval, ...]
    jump: int

    def interval_at(self, position: int) -> Interval:
        """The field of a position; of one in the padding, as though the axis went on."""
        inside = min(max(position, 0), len(self.padded) - 1)
        low, high = self.padded[inside]
        return low + (position - inside) * self.jump, high + (position - inside) * self.jump

    def propagate(self, reaches: list[Interval], stride: int) -> "FieldAxis":
        """The axis after a layer whose outputs reach so far over positions of this one."""
        whole = [
            (self.interval_at(first)[0], self.interval_at(end - 1)[1]) for first, end in reaches
        ]
        there = [self.visible[max(first, 0) : max(end, 0)] for first, end in reaches]
        seen = [interval_hull([one for one in some if one != (0, 0)]) for some in there]
        return FieldAxis(tuple(whole), tuple(seen), self.jump * stride)


def interval_hull(intervals: list[Interval]) -> Interval:
    """From the lowest beginning to the highest end; (0, 0) of none."""
    return (min(i[0] for i in intervals), max(i[1] for i in intervals)) if intervals else (0, 0)


def as_pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def propagate_sliding(module: Any, axis: FieldAxis, which: int, outputs: int) -> FieldAxis | None:
    """A convolution or pooling: output i reaches over the inputs from stride * i - padding on."""
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return None  # what stands in the padding is picture from elsewhere
    extent, dilation = (
        as_pair(module.kernel_size)[which],
        as_pair(getattr(module, "dilation", 1))[which],
    )
    stride, padding = as_pair(module.stride)[which], get_leading_padding(module, which)
    reach = dilation * (extent - 1) + 1
    return axis.propagate(
        [(stride * i - padding, stride * i - padding + reach) for i in range(outputs)], stride
    )


def get_leading_padding(module: Any, which: int) -> int:
    """Zeros before the first row or column; "same" puts the odd one behind the last."""
    if module.padding == "same":
        return module.dilation[which] * (module.kernel_size[which] - 1) // 2
    return 0 if module.padding == "valid" else as_pair(module.padding)[which]


def propagate_adaptive(module: nn.Module, axis: FieldAxis, which: int, outputs: int) -> FieldAxis:
    """As many parts as outputs, which overlap by a position where they do not come out even."""
    n = len(axis.padded)
    return axis.propagate(
        [(i * n // outputs, -(-(i + 1) * n // outputs)) for i in range(outputs)], n // outputs
    )


def propagate_fractional(module: nn.Module, axis: FieldAxis, which: int, outputs: int) -> FieldAxis:
    """As it is judged: regions of two, where torch's `generate_intervals` puts them for its sample of 0.5, in float32;
    the last at the end."""
    room = len(axis.padded) - 2
    alpha = torch.tensor(
        room / max(1, outputs - 1), dtype=torch.float32, device="cpu"
    )  # whatever the default is
    begins = [int((i + 0.5) * alpha) - int(0.5 * alpha) for i in range(outputs - 1)] + [room]
    return axis.propagate([(begin, begin + 2) for begin in begins], max(1, math.ceil(alpha)))


def propagate_pointwise(module: nn.Module, axis: FieldAxis, which: int, outputs: int) -> FieldAxis:
    return axis


PROPAGATION_RULES: dict[type[nn.Module], Callable[[Any, FieldAxis, int, int], FieldAxis | None]] = {
    **dict.fromkeys((nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d), propagate_sliding),
    **dict.fromkeys((nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d), propagate_adaptive),
    FractionalMaxPool: propagate_fractional,
    **dict.fromkeys((nn.BatchNorm2d, nn.Dropout, nn.Dropout2d, nn.Identity), propagate_pointwise),
    **dict.fromkeys(
        (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus),
        propagate_pointwise,
    ),
}


def full_axis(pixels: int, outputs: int) -> FieldAxis:
    return FieldAxis(((0, pixels),) * outputs, ((0, pixels),) * outputs, 0)


def propagate_module(
    module: nn.Module, axes: tuple[FieldAxis, ...] | None, size: tuple[int, ...], shape: ImageShape
) -> tuple[FieldAxis, ...]:
    """The axes of a module's output of (depth, height, width), or (features,), from those of its input, if known."""
    rule, outputs = PROPAGATION_RULES.get(type(module)), size[1:] if len(size) == 3 else (1, 1)
    found = (
        [rule(module, axis, n, outputs[n]) for n, axis in enumerate(axes)]
        if rule and axes
        else [None, None]
    )
    return tuple(
        axis if axis and len(size) == 3 else full_axis(pixels, count)
        for axis, pixels, count in zip(found, shape[1:], outputs, strict=True)
    )


def compute_receptive_fields(model: nn.Module, shape: ImageShape) -> dict[str, ReceptiveField]:
    """The fields of every named module that a picture of `shape` (depth, height, width) passes, as the network is when
    it judges (batch normalisation is by running moments, fractional pooling fixed); a block's are its last layer's.

    Nothing is computed or allocated. A fully connected layer sees everything, and of a module that is none of `RULES`
    it is taken that it does: too much, never too little. Raises what the model raises for a shape that it cannot take.
    """
    picture = torch.zeros(1, *shape, device="meta")
    known: dict[int, tuple[Tensor, tuple[FieldAxis, ...]]] = {}
    start = (
        FieldAxis(tuple((i, i + 1) for i in range(n)), tuple((i, i + 1) for i in range(n)), 1)
        for n in shape[1:]
    )
    known[id(picture)] = picture, tuple(start)
    found: dict[str, ReceptiveField] = {}

    def noted(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            leaf = not any(True for _ in module.children())
            if (
                leaf or id(output) not in known
            ):  # by identity: what no module made, such as a sum, is not known
                axes = known.get(id(inputs[0])) if leaf else None
                known[id(output)] = (
                    output,
                    propagate_module(
                        module, axes[1] if axes else None, tuple(output.shape[1:]), shape
                    ),
                )
            rows, columns = known[id(output)][1]
            found[name] = ReceptiveField(rows.padded, columns.padded, rows.visible, columns.visible)

        return hook

    handles = [
        module.register_forward_hook(noted(name)) for name, module in model.named_modules() if name
    ]
    try:
        eval_on_meta(model, picture)
    finally:
        for handle in handles:
            handle.remove()
    return found


def eval_on_meta(model: nn.Module, images: Tensor) -> Tensor:
    """What the model makes of pictures on the meta device, its own weights and mode untouched."""
    modes = {module: module.training for module in model.modules()}
    own = chain(model.named_parameters(), model.named_buffers())
    shapes = {name: torch.empty_like(t, device="meta", dtype=images.dtype) for name, t in own}
    try:
        with torch.no_grad():
            return functional_call(model.eval(), shapes, (images,))
    finally:
        for module, mode in modes.items():
            module.training = mode
