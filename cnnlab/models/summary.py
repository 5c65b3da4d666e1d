"""What each layer of a network is made of and asks for: volumes, parameters, multiply-adds, memory. On shapes alone:
nothing is computed or allocated, however large the network."""

from collections.abc import Callable, Iterator
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
)

LAYER_KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution", nn.Linear: "fully connected", nn.MaxPool2d: "max pooling", nn.AvgPool2d: "average pooling",
    FractionalMaxPool: "fractional max pooling", nn.BatchNorm1d: "batch normalization", nn.Dropout: "dropout",
    nn.BatchNorm2d: "batch normalization", nn.ReLU: "ReLU", nn.Flatten: "flatten",
}  # fmt: skip
OptionalPair = tuple[int, int] | None  # down, across
SMALL_BATCH, LARGE_BATCH = (
    2,
    3,
)  # pictures at once: memory is a part for each picture, and a part that does not grow


@dataclass(frozen=True)
class BatchMemory:
    """Memory that grows with a batch: so much for each picture, and so much whatever the batch."""

    per_image: int
    fixed: int = 0

    def for_batch(self, batch_size: int) -> int:
        return self.fixed + batch_size * self.per_image

    def __add__(self, other: "BatchMemory") -> "BatchMemory":
        return BatchMemory(self.per_image + other.per_image, self.fixed + other.fixed)


@dataclass(frozen=True)
class LayerSummary:
    """One module of a network that holds no others. Volumes are (depth, height, width), or (units,).

    `weights` and `biases`: batch normalisation's gamma and beta too; `buffers`: numbers that it keeps and does not
    learn. Multiply-adds of convolutions and products of matrices for one picture, forward. `forward`: what it puts
    out, where that is new memory: nothing for what it changes in place. `kept`: what it is the first to keep in
    training until its gradient was taken, parameters not counted."""

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
        """As torch's FlopCounterMode counts: two for a multiply-add; additions of biases, ReLU, pooling, batch
        normalisation and dropout are not counted."""
        return 2 * self.multiply_adds


@dataclass
class LayerTrace:
    """What one layer did while a batch passed."""

    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    flops: int = 0
    forward_bytes: int = 0
    saved_bytes: int = 0


def summarize_layers(model: nn.Module, shape: ImageShape) -> list[LayerSummary]:
    """The layers in the order that a picture of `shape` (depth, height, width) passes them, in float32, as they are in
    training on the CPU. Raises what the model raises for a shape that it cannot take."""
    few, more, seen = (
        trace_layers(model, shape, SMALL_BATCH),
        trace_layers(model, shape, LARGE_BATCH),
        compute_receptive_fields(model, shape),
    )
    modules = dict(model.named_modules())

    def memory(name: str, what: str) -> BatchMemory:
        one, other = getattr(few[name], what), getattr(more[name], what)
        return BatchMemory(other - one, one - SMALL_BATCH * (other - one))

    def described(name: str) -> LayerSummary:
        module, found = modules[name], few[name]
        own = {key: tensor.numel() for key, tensor in module.named_parameters(recurse=False)}
        biases = own.get("bias", 0)
        moments = sum(t.numel() for t in module.buffers(recurse=False) if t.is_floating_point())
        kind = LAYER_KINDS.get(type(module), type(module).__name__)
        return LayerSummary(
            name, kind, found.input, found.output, *get_window_geometry(module), sum(own.values()) - biases, biases,
            moments, found.flops // (2 * SMALL_BATCH), memory(name, "forward_bytes"), memory(name, "saved_bytes"), seen[name],
        )  # fmt: skip

    return [described(name) for name in few]


def get_window_geometry(module: Any) -> tuple[OptionalPair, OptionalPair, OptionalPair]:
    """(extent, stride, padding), each down and across, of what slides over a volume; None of what does not."""
    if isinstance(module, FractionalMaxPool):
        return (2, 2), None, None
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return None, None, None
    return (
        as_pair(module.kernel_size),
        as_pair(module.stride),
        (get_leading_padding(module, 0), get_leading_padding(module, 1)),
    )


def trace_layers(model: nn.Module, shape: ImageShape, batch_size: int) -> dict[str, LayerTrace]:
    """What each layer did in the forward pass of a training, by name, in order."""
    own = chain(model.named_parameters(), model.named_buffers())
    tensors = {
        name: torch.empty_like(t, device="meta", requires_grad=t.requires_grad) for name, t in own
    }
    for name, parameter in model.named_parameters():
        tensors[name].requires_grad_(
            parameter.is_floating_point()
        )  # that of a run that only judges, too
    batch = torch.zeros(batch_size, *shape, device="meta")
    found: dict[str, LayerTrace] = {}
    known = {
        get_storage_id(t): t.untyped_storage() for t in tensors.values()
    }  # kept alive, so that no other takes its place
    made = {get_storage_id(batch): batch.untyped_storage()}
    with FlopCounterMode(display=False) as counter, training_mode(model):

        def begin(name: str, inputs: Any) -> None:
            found[name] = LayerTrace(
                input=tuple(inputs[0].shape[1:]), flops=-counter.get_total_flops()
            )

        def end(name: str, output: Tensor) -> None:
            layer = found[name]
            layer.flops += counter.get_total_flops()
            layer.output = tuple(output.shape[1:])
            if get_storage_id(output) not in made:
                made[get_storage_id(output)] = output.untyped_storage()
                layer.forward_bytes = output.untyped_storage().nbytes()

        def pack(tensor: Tensor) -> Tensor:
            if get_storage_id(tensor) not in known:
                known[get_storage_id(tensor)] = tensor.untyped_storage()
                list(found.values())[-1].saved_bytes += tensor.untyped_storage().nbytes()
            return tensor

        with (
            hook_leaf_modules(model, begin, end),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            functional_call(model, tensors, (batch,))
    return found


def get_storage_id(tensor: Tensor) -> int:
    """Of the memory behind a tensor, or behind its views; on the meta device it has no address."""
    return tensor.untyped_storage()._cdata


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """The model as it is in training, then in the mode that each of its modules was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.train()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def hook_leaf_modules(
    model: nn.Module, begin: Callable[[str, Any], None], end: Callable[[str, Any], None]
) -> Iterator[None]:
    """Call `begin(name, inputs)` and `end(name, output)` around each module that holds no others."""
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
    """Of the whole network: no memory is counted at two layers."""
    return sum(parts, BatchMemory(0))
