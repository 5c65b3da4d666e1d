"""A network's layers by name, and their inputs and outputs."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnlab.core.errors import UsageError, format_unknown_choice


def get_layer(model: nn.Module, name: str, where: str = "layer") -> nn.Module:
    """Return the module of a dotted name, `conv_1` or `conv_1.conv`. Raises UsageError with the
    known names."""
    known = dict(model.named_modules())
    del known[""]
    if name not in known:
        raise UsageError(format_unknown_choice(where, name, known))
    return known[name]


def disable_inplace(model: nn.Module) -> nn.Module:
    """Set every layer of the network to not overwrite its input, and return the network."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010  (of the kinds that have it)
    return model


def capture_outputs(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return each named layer's output, (N, K, h, w) or (N, K), for (N, C, H, W) images, in the
    order of `names`. The model is one of `disable_inplace`; gradients flow if they are enabled.
    Raises UsageError for an unknown layer."""
    return capture(model, x, (), names)[1]


def capture(
    model: nn.Module, x: Tensor, entering: Sequence[str], leaving: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Return the inputs of the layers `entering`, the outputs of the layers `leaving`, and the
    network's logits, in one pass. Raises UsageError as `capture_outputs` does."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    handles = [register_capture(model, name, inputs, is_input=True) for name in entering]
    handles += [register_capture(model, name, outputs, is_input=False) for name in leaving]
    try:
        logits = model(x)
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in entering if name not in inputs]
    missing += [name for name in leaving if name not in outputs]
    if missing:
        raise UsageError(f"the network does not call {missing[0]} as a layer: name one around it")
    return (
        {name: inputs[name] for name in entering},
        {name: outputs[name] for name in leaving},
        logits,
    )


def register_capture(
    model: nn.Module, name: str, captured: dict[str, Tensor], *, is_input: bool
) -> RemovableHandle:
    """Store the named layer's input or output in `captured` at the next pass."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        value = inputs[0] if is_input else output
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UsageError(f"{name} returns a {kind}, not one tensor: name another layer")
        captured[name] = value.clone()  # torchvision's residual networks add to it in place

    return get_layer(model, name).register_forward_hook(hook)


def find_last_linear(model: nn.Module) -> str | None:
    """Return the name of the last fully connected layer, whose input is the penultimate features;
    None if there is none."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None
