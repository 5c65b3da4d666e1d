"""Look up a network's layers by name and capture their outputs."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from cnnlab.core.errors import UsageError, format_unknown_choice

Hook = Any  # a forward hook: (module, inputs, output) -> None


def get_layer(model: nn.Module, name: str, where: str = "layer") -> nn.Module:
    """Return the module with a dotted name, `conv_1` or `conv_1.conv`. Raises UsageError with the
    valid names."""
    known = dict(model.named_modules())
    del known[""]
    if name not in known:
        raise UsageError(format_unknown_choice(where, name, known))
    return known[name]


def disable_inplace(model: nn.Module) -> nn.Module:
    """Make every layer of a network keep its input, so that each output can be captured; return the
    network."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010  (of the kinds that have it)
    return model


def capture_outputs(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return each named layer's output for (N, C, H, W) images, (N, K, h, w) or (N, K), in the
    order of `names`.

    In-place layers must be disabled (`disable_inplace`); gradients flow where they are on. Raises
    UsageError for an unknown layer."""
    return capture(model, x, (), names)[1]


def capture(
    model: nn.Module, x: Tensor, input_names: Sequence[str], output_names: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Return the inputs of some layers, the outputs of others, and the network's output, in one
    forward pass."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    handles = [
        get_layer(model, name).register_forward_hook(make_capture_hook(name, inputs, is_input=True))
        for name in input_names
    ]
    handles += [
        get_layer(model, name).register_forward_hook(
            make_capture_hook(name, outputs, is_input=False)
        )
        for name in output_names
    ]
    try:
        result = model(x)
    finally:
        for handle in handles:
            handle.remove()
    check_all_captured(input_names, inputs)
    check_all_captured(output_names, outputs)
    return (
        {name: inputs[name] for name in input_names},
        {name: outputs[name] for name in output_names},
        result,
    )


def make_capture_hook(name: str, captured: dict[str, Tensor], *, is_input: bool) -> Hook:
    """Return a forward hook that stores a layer's input or output. It raises UsageError for what is
    not a tensor."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        value = inputs[0] if is_input else output
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UsageError(f"{name} returns a {kind}, not one tensor: name another layer")
        # torchvision's residual networks add to a layer's output in place.
        captured[name] = value.clone()

    return hook


def check_all_captured(names: Sequence[str], captured: dict[str, Tensor]) -> None:
    """Raise UsageError where a layer was not called."""
    if missing := next((name for name in names if name not in captured), None):
        raise UsageError(f"the network does not call {missing} as a layer: name one around it")


def find_last_linear(model: nn.Module) -> str | None:
    """Return the name of the classifier's last fully connected layer, whose input is the
    penultimate features; None where the network has none."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


def find_first_weighted_layer(model: nn.Module) -> str | None:
    """Return the name of the first convolution or fully connected layer."""
    kinds = nn.Conv2d | nn.Linear
    return next((name for name, module in model.named_modules() if isinstance(module, kinds)), None)


def get_first_layer_weights(model: nn.Module, shape: tuple[int, int, int]) -> Tensor | None:
    """Return the weights applied to the input image: (K, C, e, e) of a convolution, or (K, C, H, W)
    of a fully connected layer on the whole image of (C, H, W) `shape`; None where the first layer
    is neither."""
    layer = next((m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)), None)
    if isinstance(layer, nn.Conv2d):
        return layer.weight
    if isinstance(layer, nn.Linear) and layer.in_features == math.prod(shape):
        return layer.weight.view(-1, *shape)
    return None
