"""Summarize each layer of a network: volumes, parameters, multiply-adds, memory. Only shapes are
propagated: nothing is computed or allocated, however large the network."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.models.layers import FractionalMaxPool, ImageShape
from cnnlab.models.receptive_field import (
    ReceptiveField,
    as_pair,
    compute_receptive_fields,
    get_leading_padding,
    look_up_kind,
    use_mode,
)

LAYER_KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution",
    nn.Linear: "fully connected",
    nn.MaxPool2d: "max pooling",
    nn.AvgPool2d: "average pooling",
    FractionalMaxPool: "fractional max pooling",
    nn.BatchNorm1d: "batch normalization",
    nn.BatchNorm2d: "batch normalization",
    nn.Dropout: "dropout",
    nn.ReLU: "ReLU",
    nn.GELU: "GELU",
    nn.AdaptiveMaxPool2d: "global max pooling",
    nn.Flatten: "flatten",
}
OptionalPair = tuple[int, int] | None  # down, across
SMALL_BATCH, LARGE_BATCH = 2, 3  # two batch sizes separate the memory by image from the constant


@dataclass(frozen=True)
class BatchMemory:
    """Bytes for each image of a batch, and bytes that do not depend on its size."""

    per_image: int
    fixed: int = 0

    def for_batch(self, batch_size: int) -> int:
        return self.fixed + batch_size * self.per_image

    def __add__(self, other: "BatchMemory") -> "BatchMemory":
        return BatchMemory(self.per_image + other.per_image, self.fixed + other.fixed)


@dataclass(frozen=True)
class LayerSummary:
    """A module without submodules. Volumes are (depth, height, width), or (units,).

    `weights` and `biases` include batch normalization's gamma and beta; `buffers` counts numbers
    that are not learned. `multiply_adds`: of convolutions and matrix products, for one image,
    forward. `forward_memory`: the output, if it is new memory; nothing for in-place layers.
    `saved_for_backward`: memory that this layer is the first to save, without parameters."""

    name: str
    kind: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel_size: OptionalPair
    stride: OptionalPair
    padding: OptionalPair
    weights: int
    biases: int
    buffers: int
    multiply_adds: int
    forward_memory: BatchMemory
    saved_for_backward: BatchMemory
    receptive_field: ReceptiveField

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    @property
    def flops(self) -> int:
        """Two for a multiply-add, as torch's FlopCounterMode counts; biases, ReLU, pooling, batch
        normalization and dropout are not counted."""
        return 2 * self.multiply_adds


@dataclass
class LayerTrace:
    """Shapes, work and memory of one layer for one batch."""

    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    flops: int = 0
    forward_bytes: int = 0
    saved_bytes: int = 0


def summarize_layers(model: nn.Module, shape: ImageShape) -> list[LayerSummary]:
    """Return the layers in the order in which an image of `shape` (depth, height, width) passes
    them, in float32, in training on the CPU. Raises what the model raises for a shape that it does
    not take."""
    small, large = (trace_layers(model, shape, size) for size in (SMALL_BATCH, LARGE_BATCH))
    fields = compute_receptive_fields(model, shape)
    modules = dict(model.named_modules())
    return [
        summarize_layer(name, modules[name], small[name], large[name], fields[name])
        for name in small
    ]


def summarize_layer(
    name: str, module: nn.Module, small: LayerTrace, large: LayerTrace, field: ReceptiveField
) -> LayerSummary:
    """Return a layer's summary from its traces in a small and a large batch."""
    counts = {key: tensor.numel() for key, tensor in module.named_parameters(recurse=False)}
    biases = counts.get("bias", 0)
    buffers = (tensor for tensor in module.buffers(recurse=False) if tensor.is_floating_point())
    kernel_size, stride, padding = get_window_geometry(module)
    return LayerSummary(
        name=name,
        kind=look_up_kind(module, LAYER_KINDS) or type(module).__name__,
        input=small.input,
        output=small.output,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        weights=sum(counts.values()) - biases,
        biases=biases,
        buffers=sum(tensor.numel() for tensor in buffers),
        multiply_adds=small.flops // (2 * SMALL_BATCH),
        forward_memory=fit_memory(small.forward_bytes, large.forward_bytes),
        saved_for_backward=fit_memory(small.saved_bytes, large.saved_bytes),
        receptive_field=field,
    )


def fit_memory(small: int, large: int) -> BatchMemory:
    """Return the memory that grows by image from the bytes of a small and a large batch."""
    per_image = (large - small) // (LARGE_BATCH - SMALL_BATCH)
    return BatchMemory(per_image, small - SMALL_BATCH * per_image)


def get_window_geometry(module: Any) -> tuple[OptionalPair, OptionalPair, OptionalPair]:
    """Return (kernel size, stride, padding), each down and across, of a convolution or pooling;
    None for others."""
    if isinstance(module, FractionalMaxPool):
        return (2, 2), None, None
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return None, None, None
    padding = get_leading_padding(module, 0), get_leading_padding(module, 1)
    return as_pair(module.kernel_size), as_pair(module.stride), padding


class TraceRecorder:
    """Record each layer's FLOPs and memory while a batch on the meta device passes."""

    def __init__(self, counter: FlopCounterMode, parameters: Iterable[Tensor], batch: Tensor):
        self.counter, self.layers = counter, dict[str, LayerTrace]()
        # Storages are kept alive, so that no new one gets the same id.
        self.saved = {get_storage_id(tensor): tensor.untyped_storage() for tensor in parameters}
        self.outputs = {get_storage_id(batch): batch.untyped_storage()}

    def begin(self, name: str, inputs: Any) -> None:
        shape, flops = tuple(inputs[0].shape[1:]), self.counter.get_total_flops()
        self.layers[name] = LayerTrace(input=shape, flops=-flops)

    def end(self, name: str, output: Tensor) -> None:
        layer = self.layers[name]
        layer.flops += self.counter.get_total_flops()
        layer.output = tuple(output.shape[1:])
        if get_storage_id(output) not in self.outputs:
            self.outputs[get_storage_id(output)] = output.untyped_storage()
            layer.forward_bytes = output.untyped_storage().nbytes()

    def save(self, tensor: Tensor) -> Tensor:
        """Count a tensor that autograd saves, for the layer that runs."""
        if get_storage_id(tensor) not in self.saved:
            self.saved[get_storage_id(tensor)] = tensor.untyped_storage()
            list(self.layers.values())[-1].saved_bytes += tensor.untyped_storage().nbytes()
        return tensor


def make_meta_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's parameters and buffers on the meta device; parameters need gradients
    where the model's do, and those of a run that is only evaluated all do, if they are float."""
    tensors = {
        name: torch.empty_like(tensor, device="meta", requires_grad=tensor.requires_grad)
        for name, tensor in chain(model.named_parameters(), model.named_buffers())
    }
    if not any(parameter.requires_grad for parameter in model.parameters()):
        for name, parameter in model.named_parameters():
            tensors[name].requires_grad_(parameter.is_floating_point())
    return tensors


def trace_layers(model: nn.Module, shape: ImageShape, batch_size: int) -> dict[str, LayerTrace]:
    """Return the traces of a forward pass in training, by layer, in order."""
    tensors, batch = make_meta_tensors(model), torch.zeros(batch_size, *shape, device="meta")
    with FlopCounterMode(display=False) as counter, use_mode(model, is_training=True):
        recorder = TraceRecorder(counter, tensors.values(), batch)
        with (
            hook_leaf_modules(model, recorder.begin, recorder.end),
            torch.autograd.graph.saved_tensors_hooks(recorder.save, lambda tensor: tensor),
        ):
            functional_call(model, tensors, (batch,))
    return recorder.layers


def get_storage_id(tensor: Tensor) -> int:
    """Return the identity of a tensor's memory, the same for views; meta tensors have no
    address."""
    return tensor.untyped_storage()._cdata


@contextmanager
def hook_leaf_modules(
    model: nn.Module, begin: Callable[[str, Any], None], end: Callable[[str, Any], None]
) -> Iterator[None]:
    """Call `begin(name, inputs)` and `end(name, output)` around each module without submodules."""
    handles = []
    for name, module in model.named_modules():
        if not list(module.children()):
            handles.append(
                module.register_forward_pre_hook(
                    lambda module, inputs, name=name: begin(name, inputs)
                )
            )
            handles.append(
                module.register_forward_hook(
                    lambda module, inputs, output, name=name: end(name, output)
                )
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def sum_memory(parts: list[BatchMemory]) -> BatchMemory:
    """Return the sum over layers: no memory is counted twice."""
    return sum(parts, BatchMemory(0))
