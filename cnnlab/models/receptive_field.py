"""Receptive fields: the rows and columns of a network's input that each unit depends on.

Interval arithmetic, layer by layer, on shapes only (Dumoulin & Visin 2016 for the sizes; Araujo et
al. 2019 for the fields). Rows and columns are independent: each axis is a list of intervals, one
for each output position.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cnnlab.models.layers import FractionalMaxPool, ImageShape

T = TypeVar("T")
Interval = tuple[int, int]  # start, end; end is exclusive


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive fields of a layer's units.

    `rows`: the input rows of each output row, padding included, so that an interval may start below
    0 and end beyond the image. `visible_rows`: the part inside the image that is visible through
    every layer between; (0, 0) if it is padding only. Columns likewise."""

    rows: tuple[Interval, ...]
    columns: tuple[Interval, ...]
    visible_rows: tuple[Interval, ...]
    visible_columns: tuple[Interval, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the largest, in pixels of the input, padding included."""
        height, width = (
            max((high - low for low, high in axis), default=0) for axis in (self.rows, self.columns)
        )
        return height, width

    def clip_window(self, i: int, j: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Return (top, bottom, left, right), bottom and right exclusive, of the unit at row `i`,
        column `j` on an image of that size. Units of a fully connected layer are at 0, 0. Raises
        IndexError."""
        top, bottom = (min(max(row, 0), height) for row in self.visible_rows[i])
        left, right = (min(max(column, 0), width) for column in self.visible_columns[j])
        return top, bottom, left, right


@dataclass(frozen=True)
class FieldAxis:
    """One axis of a layer: its fields, and the distance between the starts of two neighbors."""

    padded: tuple[Interval, ...]
    visible: tuple[Interval, ...]
    jump: int

    def interval_at(self, position: int) -> Interval:
        """Return the field of a position; in the padding, that of a continued axis."""
        inside = min(max(position, 0), len(self.padded) - 1)
        low, high = self.padded[inside]
        return low + (position - inside) * self.jump, high + (position - inside) * self.jump

    def propagate(self, reaches: list[Interval], stride: int) -> "FieldAxis":
        """Return the axis of a layer whose outputs depend on these positions of this one."""
        padded = [
            (self.interval_at(start)[0], self.interval_at(end - 1)[1]) for start, end in reaches
        ]
        inside = [self.visible[max(start, 0) : max(end, 0)] for start, end in reaches]
        visible = [
            interval_hull([interval for interval in intervals if interval != (0, 0)])
            for intervals in inside
        ]
        return FieldAxis(tuple(padded), tuple(visible), self.jump * stride)


FieldAxes = tuple[FieldAxis, FieldAxis]  # rows, columns


def interval_hull(intervals: list[Interval]) -> Interval:
    """Return the lowest start and the highest end; (0, 0) of none."""
    return (min(i[0] for i in intervals), max(i[1] for i in intervals)) if intervals else (0, 0)


def as_pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def propagate_sliding(module: Any, axis: FieldAxis, which: int, outputs: int) -> FieldAxis | None:
    """Propagate through a convolution or pooling: output i starts at input stride * i - padding."""
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return None  # the padding repeats pixels from elsewhere
    kernel_size = as_pair(module.kernel_size)[which]
    dilation = as_pair(getattr(module, "dilation", 1))[which]
    stride, padding = as_pair(module.stride)[which], get_leading_padding(module, which)
    reach = dilation * (kernel_size - 1) + 1
    starts = [stride * i - padding for i in range(outputs)]
    return axis.propagate([(start, start + reach) for start in starts], stride)


def get_leading_padding(module: Any, which: int) -> int:
    """Return the zeros before the first row or column; "same" adds an odd one after the last."""
    if module.padding == "same":
        return module.dilation[which] * (module.kernel_size[which] - 1) // 2
    return 0 if module.padding == "valid" else as_pair(module.padding)[which]


def propagate_adaptive(module: nn.Module, axis: FieldAxis, which: int, outputs: int) -> FieldAxis:
    """Propagate through as many parts as outputs; they overlap where the division is not exact."""
    n = len(axis.padded)
    return axis.propagate(
        [(i * n // outputs, -(-(i + 1) * n // outputs)) for i in range(outputs)], n // outputs
    )


def propagate_fractional(module: nn.Module, axis: FieldAxis, which: int, outputs: int) -> FieldAxis:
    """Propagate through regions of two as in evaluation: torch's `generate_intervals` for a sample
    of 0.5, in float32; the last region is at the end."""
    last = len(axis.padded) - 2
    step = last / max(1, outputs - 1)
    alpha = torch.tensor(step, dtype=torch.float32, device="cpu")  # whatever torch's defaults are
    starts = [int((i + 0.5) * alpha) - int(0.5 * alpha) for i in range(outputs - 1)] + [last]
    return axis.propagate([(start, start + 2) for start in starts], max(1, math.ceil(alpha)))


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


def look_up_kind(module: nn.Module, table: Mapping[type[nn.Module], T]) -> T | None:
    """Return a module's entry by its type, or by the type that it has its `forward` from; None
    without one."""
    forward = type(module).forward
    bases = [base for base in type(module).__mro__ if issubclass(base, nn.Module)]
    return next((table[b] for b in bases if b in table and b.forward is forward), None)


def full_axis(pixels: int, outputs: int) -> FieldAxis:
    return FieldAxis(((0, pixels),) * outputs, ((0, pixels),) * outputs, 0)


def propagate_module(
    module: nn.Module, axes: FieldAxes | None, size: tuple[int, ...], shape: ImageShape
) -> FieldAxes:
    """Return the axes of a module's output of `size` (depth, height, width) or (features,), from
    those of its input, if known; otherwise the whole input of `shape`."""
    rule = look_up_kind(module, PROPAGATION_RULES)
    outputs = size[1:] if len(size) == 3 else (1, 1)
    propagated: list[FieldAxis | None] = [None, None]
    if rule and axes and len(size) == 3:
        propagated = [rule(module, axis, n, outputs[n]) for n, axis in enumerate(axes)]
    rows, columns = (
        axis or full_axis(pixels, count)
        for axis, pixels, count in zip(propagated, shape[1:], outputs, strict=True)
    )
    return rows, columns


def identity_axis(pixels: int) -> FieldAxis:
    intervals = tuple((i, i + 1) for i in range(pixels))
    return FieldAxis(intervals, intervals, 1)


class FieldRecorder:
    """Record the receptive field of each module that a batch passes. Tensors are recognized by
    identity, so that a tensor made outside a module, such as a sum, is unknown."""

    def __init__(self, images: Tensor, shape: ImageShape) -> None:
        self.shape, self.fields = shape, dict[str, ReceptiveField]()
        start = identity_axis(shape[1]), identity_axis(shape[2])
        self.known: dict[int, tuple[Tensor, FieldAxes]] = {id(images): (images, start)}

    def record(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        is_leaf = not any(True for _ in module.children())
        if is_leaf or id(output) not in self.known:
            axes = self.known[id(inputs[0])][1] if is_leaf and id(inputs[0]) in self.known else None
            axes = propagate_module(module, axes, tuple(output.shape[1:]), self.shape)
            self.known[id(output)] = output, axes
        rows, columns = self.known[id(output)][1]
        self.fields[name] = ReceptiveField(
            rows.padded, columns.padded, rows.visible, columns.visible
        )


def compute_receptive_fields(model: nn.Module, shape: ImageShape) -> dict[str, ReceptiveField]:
    """Return the receptive field of every named module on an image of `shape` (depth, height,
    width) in evaluation mode; a block's is its last layer's.

    Nothing is computed or allocated. The field of a fully connected layer, and of a module without
    a rule in PROPAGATION_RULES, is the whole image: too much, never too little. Raises what the
    model raises for a shape that it does not take.
    """
    images = torch.zeros(1, *shape, device="meta")
    recorder = FieldRecorder(images, shape)
    handles = [
        module.register_forward_hook(partial(recorder.record, name))
        for name, module in model.named_modules()
        if name
    ]
    try:
        eval_on_meta(model, images)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.fields


def eval_on_meta(model: nn.Module, images: Tensor) -> Tensor:
    """Return the model's output for images on the meta device; its weights and mode are kept."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    meta = {
        name: torch.empty_like(tensor, device="meta", dtype=images.dtype)
        for name, tensor in tensors
    }
    with torch.no_grad(), use_mode(model, is_training=False):
        return functional_call(model, meta, (images,))


@contextmanager
def use_mode(model: nn.Module, *, is_training: bool) -> Iterator[None]:
    """Set the training or evaluation mode, and restore each module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.train(is_training)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
