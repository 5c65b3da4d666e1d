"""A network's layers by name, and what comes out of them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from cnnlab.core.errors import UsageError, format_unknown_choice


def get_layer(model: nn.Module, name: str, where: str = "layer") -> nn.Module:
    """The module of a dotted name, `conv_1` or `conv_1.conv`. Raises UsageError with the names there are."""
    known = dict(model.named_modules())
    del known[""]
    if name not in known:
        raise UsageError(format_unknown_choice(where, name, known))
    return known[name]


def disable_inplace(model: nn.Module) -> nn.Module:
    """The same network, none of whose layers overwrites what it is given: each one's output stays to be seen."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010  (of the kinds that have it)
    return model


def capture_outputs(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """(N, C, H, W) pictures -> each named layer's output, (N, K, h, w) or (N, K), in the order given. The model is
    `out_of_place`, and gradients flow where they are on. Raises UsageError for a layer that there is not."""
    return capture(model, x, (), names)[1]


def capture(
    model: nn.Module, x: Tensor, entering: Sequence[str], leaving: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """What goes into some layers, what comes out of some, and what the network answers, in one pass; as `outputs` has
    it."""
    inside: dict[str, Tensor] = {}
    outside: dict[str, Tensor] = {}

    def watch(name: str, found: dict[str, Tensor], *, before: bool) -> Any:
        def keep(module: nn.Module, given: Any, out: Any) -> None:
            value = given[0] if before else out
            if not isinstance(value, Tensor):
                raise UsageError(
                    f"{name} gives a {type(value).__name__}, not one tensor: name another layer"
                )
            # torchvision's residual networks add to what a layer gave, in place.
            found[name] = value.clone()

        return get_layer(model, name).register_forward_hook(keep)

    handles = [watch(name, inside, before=True) for name in entering]
    handles += [watch(name, outside, before=False) for name in leaving]
    try:
        answer = model(x)
    finally:
        for handle in handles:
            handle.remove()
    if unseen := [n for n in entering if n not in inside] + [
        n for n in leaving if n not in outside
    ]:
        raise UsageError(
            f"{unseen[0]} is not called by the network as a layer of its own: name one around it"
        )
    return (
        {name: inside[name] for name in entering},
        {name: outside[name] for name in leaving},
        answer,
    )


def find_last_linear(model: nn.Module) -> str | None:
    """The fully connected layer that a classifier ends with: what goes into it is the hidden state before the softmax.
    None where it ends otherwise."""
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return found[-1] if found else None
