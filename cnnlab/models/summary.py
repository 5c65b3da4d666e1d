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

from cnnlab.models.layers import FractionalMaxPool, Shape
from cnnlab.models.receptive_field import Field, before, fields, pair

KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution", nn.Linear: "fully connected", nn.MaxPool2d: "max pooling", nn.AvgPool2d: "mean pooling",
    FractionalMaxPool: "fractional max pooling", nn.BatchNorm1d: "batch normalisation", nn.Dropout: "dropout",
    nn.BatchNorm2d: "batch normalisation", nn.ReLU: "ReLU", nn.Flatten: "flattening",
}  # fmt: skip
Pair = tuple[int, int] | None  # down, across
FEW, MORE = 2, 3  # pictures at once: memory is a part for each picture, and a part that does not grow


@dataclass(frozen=True)
class Bytes:
    """Memory that grows with a batch: so much for each picture, and so much whatever the batch."""

    picture: int
    fixed: int = 0

    def batch(self, pictures: int) -> int:
        return self.fixed + pictures * self.picture

    def __add__(self, other: "Bytes") -> "Bytes":
        return Bytes(self.picture + other.picture, self.fixed + other.fixed)


@dataclass(frozen=True)
class Layer:
    """One module of a network that holds no others. Volumes are (depth, height, width), or (units,).

    `weights` and `biases`: batch normalisation's gamma and beta too; `buffers`: numbers that it keeps and does not
    learn. Multiply-adds of convolutions and products of matrices for one picture, forward. `forward`: what it puts
    out, where that is new memory: nothing for what it changes in place. `kept`: what it is the first to keep in
    training until its gradient was taken, parameters not counted."""

    name: str
    kind: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    extent: Pair
    stride: Pair
    padding: Pair
    weights: int
    biases: int
    buffers: int
    multiply_adds: int
    forward: Bytes
    kept: Bytes
    field: Field

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    @property
    def flops(self) -> int:
        """As torch's FlopCounterMode counts: two for a multiply-add; additions of biases, ReLU, pooling, batch
        normalisation and dropout are not counted."""
        return 2 * self.multiply_adds


@dataclass
class Measured:
    """What one layer did while a batch passed."""

    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    flops: int = 0
    forward: int = 0
    kept: int = 0


def anatomy(model: nn.Module, shape: Shape) -> list[Layer]:
    """The layers in the order that a picture of `shape` (depth, height, width) passes them, in float32, as they are in
    training on the CPU. Raises what the model raises for a shape that it cannot take."""
    few, more, seen = passed(model, shape, FEW), passed(model, shape, MORE), fields(model, shape)
    modules = dict(model.named_modules())

    def memory(name: str, what: str) -> Bytes:
        one, other = getattr(few[name], what), getattr(more[name], what)
        return Bytes(other - one, one - FEW * (other - one))

    def described(name: str) -> Layer:
        module, found = modules[name], few[name]
        own = {key: tensor.numel() for key, tensor in module.named_parameters(recurse=False)}
        biases = own.get("bias", 0)
        moments = sum(t.numel() for t in module.buffers(recurse=False) if t.is_floating_point())
        kind = KINDS.get(type(module), type(module).__name__)
        return Layer(
            name, kind, found.input, found.output, *geometry(module), sum(own.values()) - biases, biases,
            moments, found.flops // (2 * FEW), memory(name, "forward"), memory(name, "kept"), seen[name],
        )  # fmt: skip

    return [described(name) for name in few]


def geometry(module: Any) -> tuple[Pair, Pair, Pair]:
    """(extent, stride, padding), each down and across, of what slides over a volume; None of what does not."""
    if isinstance(module, FractionalMaxPool):
        return (2, 2), None, None
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return None, None, None
    return pair(module.kernel_size), pair(module.stride), (before(module, 0), before(module, 1))


def passed(model: nn.Module, shape: Shape, pictures: int) -> dict[str, Measured]:
    """What each layer did in the forward pass of a training, by name, in order."""
    own = chain(model.named_parameters(), model.named_buffers())
    tensors = {name: torch.empty_like(t, device="meta", requires_grad=t.requires_grad) for name, t in own}
    for name, parameter in model.named_parameters():
        tensors[name].requires_grad_(parameter.is_floating_point())  # that of a run that only judges, too
    batch = torch.zeros(pictures, *shape, device="meta")
    found: dict[str, Measured] = {}
    known = {key(t): t.untyped_storage() for t in tensors.values()}  # kept alive, so that no other takes its place
    made = {key(batch): batch.untyped_storage()}
    with FlopCounterMode(display=False) as counter, trained(model):

        def begin(name: str, inputs: Any) -> None:
            found[name] = Measured(input=tuple(inputs[0].shape[1:]), flops=-counter.get_total_flops())

        def end(name: str, output: Tensor) -> None:
            layer = found[name]
            layer.flops += counter.get_total_flops()
            layer.output = tuple(output.shape[1:])
            if key(output) not in made:
                made[key(output)] = output.untyped_storage()
                layer.forward = output.untyped_storage().nbytes()

        def pack(tensor: Tensor) -> Tensor:
            if key(tensor) not in known:
                known[key(tensor)] = tensor.untyped_storage()
                list(found.values())[-1].kept += tensor.untyped_storage().nbytes()
            return tensor

        with watched(model, begin, end), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            functional_call(model, tensors, (batch,))
    return found


def key(tensor: Tensor) -> int:
    """Of the memory behind a tensor, or behind its views; on the meta device it has no address."""
    return tensor.untyped_storage()._cdata


@contextmanager
def trained(model: nn.Module) -> Iterator[None]:
    """The model as it is in training, then in the mode that each of its modules was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.train()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def watched(model: nn.Module, begin: Callable[[str, Any], None], end: Callable[[str, Any], None]) -> Iterator[None]:
    """Call `begin(name, inputs)` and `end(name, output)` around each module that holds no others."""
    handles = []
    for name, module in model.named_modules():
        if not list(module.children()):
            handles.append(module.register_forward_pre_hook(lambda module, inputs, name=name: begin(name, inputs)))
            handles.append(module.register_forward_hook(lambda module, inputs, output, name=name: end(name, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def total(parts: list[Bytes]) -> Bytes:
    """Of the whole network: no memory is counted at two layers."""
    return sum(parts, Bytes(0))
