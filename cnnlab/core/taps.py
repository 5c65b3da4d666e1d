"""A network's layers by name, and what comes out of them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from cnnlab.core.errors import UsageError, not_one_of


def layer(model: nn.Module, name: str, where: str = "layer") -> nn.Module:
    """The module of a dotted name, `conv_1` or `conv_1.conv`. Raises UsageError with the names there are."""
    known = dict(model.named_modules())
    del known[""]
    if name not in known:
        raise UsageError(not_one_of(where, name, known))
    return known[name]


def out_of_place(model: nn.Module) -> nn.Module:
    """The same network, none of whose layers overwrites what it is given: each one's output stays to be seen."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010  (of the kinds that have it)
    return model


def outputs(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """(N, C, H, W) pictures -> each named layer's output, (N, K, h, w) or (N, K), in the order given. The model is
    `out_of_place`, and gradients flow where they are on. Raises UsageError for a layer that there is not."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return layer(model, name).register_forward_hook(lambda m, given, out: found.__setitem__(name, out))

    handles = [keep(name) for name in names]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return {name: found[name] for name in names}
