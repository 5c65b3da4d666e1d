"""The formulas of "Full Description of the Convolutional Layer" and "Max Pooling" with numbers put in. The chapter's
round up; PyTorch rounds down, and lets go of what is left over."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cnnlab.models.summary import LayerSummary


@dataclass(frozen=True)
class ConvAxis:
    """A filter that slides along one side of a volume. Raises ValueError for what has no output."""

    name: str  # w or h
    input_size: int
    extent: int
    stride: int
    padding: int

    def __post_init__(self) -> None:
        for letter, value, least in ((self.name, self.input_size, 1), ("e", self.extent, 1), ("s", self.stride, 1),
                                     ("p", self.padding, 0)):  # fmt: skip
            if value < least:
                raise ValueError(f"{letter} must be at least {least}, not {value}")
        if self.slide_range < 0:
            raise ValueError(
                f"e={self.extent} is larger than {self.name}={self.input_size} with p={self.padding} around"
            )

    @property
    def slide_range(self) -> int:
        return self.input_size - self.extent + 2 * self.padding

    @property
    def ceil_size(self) -> int:
        """The chapter's."""
        return -(-self.slide_range // self.stride) + 1

    @property
    def floor_size(self) -> int:
        """PyTorch's, unless it is told to round up."""
        return self.slide_range // self.stride + 1

    @property
    def uncovered(self) -> int:
        """Pixels at the end that no filter reaches when rounding down; padding not counted."""
        return max(0, self.slide_range % self.stride - self.padding)

    def format_formula(self, *, has_padding: bool) -> str:
        around, numbers = (" + 2p", f" + 2*{self.padding}") if has_padding else ("", "")
        put_in = f"ceil(({self.input_size} - {self.extent}{numbers}) / {self.stride}) + 1"
        return f"{self.name}_out = ceil(({self.name}_in - e{around}) / s) + 1 = {put_in} = {self.ceil_size}"


def explain_rounding(sides: tuple[ConvAxis, ConvAxis]) -> Iterator[str]:
    """Whether the chapter's ceiling and PyTorch's floor differ, and what the floor leaves out."""
    if all(side.ceil_size == side.floor_size for side in sides):
        yield "PyTorch rounds down: the same here"
        return
    across, down = sides
    yield f"PyTorch rounds down: {across.floor_size}x{down.floor_size} where the chapter has {across.ceil_size}x{down.ceil_size}"
    counts = ((across.uncovered, "column"), (down.uncovered, "row"))
    lost = [f"{word if n == 1 else f'{n} {word}s'}" for n, word in counts if n]
    yield (
        f"no filter reaches the last {' and '.join(lost)}"
        if lost
        else "what the floor leaves out is padding alone"
    )


@dataclass(frozen=True)
class FormulaResult:
    """A layer's formulas with numbers put in, line by line, and the numbers for programs. Sizes are (w, h, depth)."""

    lines: list[str]
    values: dict[str, Any]


def check_positive(**values: int) -> None:
    for letter, value in values.items():
        if value < 1:
            raise ValueError(f"{letter} must be at least 1, not {value}")


def collect_volumes(sides: tuple[ConvAxis, ConvAxis], d: int, k: int) -> dict[str, Any]:
    return {
        "input": [*(side.input_size for side in sides), d],
        "output": [*(side.floor_size for side in sides), k],
        "output_chapter": [*(side.ceil_size for side in sides), k],
        "uncovered": [side.uncovered for side in sides],
    }


def join_sizes(volume: list[int]) -> str:
    return "x".join(map(str, volume))


def conv_result(sides: tuple[ConvAxis, ConvAxis], d: int, k: int) -> FormulaResult:
    """Of k filters over a depth of d; `sides` are width and height."""
    check_positive(d=d, k=k)
    across, down = (side.extent for side in sides)
    filters, put_in = (
        ("e^2", f"{across}^2") if across == down else ("e_w e_h", f"{across} * {down}")
    )
    found = collect_volumes(sides, d, k)
    weights, (w, h, _) = k * d * across * down, found["output"]
    work = w * h * weights
    lines = [
        f"convolution: {join_sizes(found['input'])} -> {join_sizes(found['output'])}",
        *(f"  {side.format_formula(has_padding=True)}" for side in sides),
        f"  d_out = k = {k}",
        f"  weights = k d_in {filters} = {k} * {d} * {put_in} = {weights:,}; biases = k = {k:,}",
        f"  multiply-adds = w_out h_out * weights = {w} * {h} * {weights:,} = {work:,}",
        f"  FLOPs = 2 * multiply-adds = {2 * work:,}",
        *(f"  {line}" for line in explain_rounding(sides)),
    ]
    return FormulaResult(
        lines, found | {"weights": weights, "biases": k, "multiply_adds": work, "flops": 2 * work}
    )


def pool_result(
    sides: tuple[ConvAxis, ConvAxis], d: int, *, has_padding: bool = False
) -> FormulaResult:
    """Over a depth of d; `padded`: with zeros around, which the chapter's pooling does not have."""
    check_positive(d=d)
    found = collect_volumes(sides, d, d)
    lines = [
        f"pooling: {join_sizes(found['input'])} -> {join_sizes(found['output'])}",
        *(f"  {side.format_formula(has_padding=has_padding)}" for side in sides),
        "  no parameters",
        *(f"  {line}" for line in explain_rounding(sides)),
    ]
    return FormulaResult(lines, found)


def conv_formulas(*, w: int, h: int, d: int, e: int, s: int, p: int, k: int) -> FormulaResult:
    """The chapter's letters: an input of w x h x d with zero padding p, k filters of e x e x d at stride s. Raises
    ValueError where there is no such layer."""
    return conv_result((ConvAxis("w", w, e, s, p), ConvAxis("h", h, e, s, p)), d, k)


def pool_formulas(*, w: int, h: int, d: int, e: int, s: int) -> FormulaResult:
    """Pooling of e x e at stride s over w x h x d. Raises ValueError where there is no such layer."""
    return pool_result((ConvAxis("w", w, e, s, 0), ConvAxis("h", h, e, s, 0)), d)


LAYER_FORMULAS: dict[str, Callable[..., FormulaResult]] = {
    "conv": conv_formulas,
    "pool": pool_formulas,
}


def get_conv_axes(layer: LayerSummary) -> tuple[ConvAxis, ConvAxis] | None:
    """Width and height of a layer that slides and that the formulas describe (dilation and ceil_mode they do not)."""
    if layer.kernel_size is None or layer.stride is None or layer.padding is None:
        return None
    parts: Any = zip(
        "hw", layer.input[1:], layer.kernel_size, layer.stride, layer.padding, strict=True
    )
    down, across = (ConvAxis(*part) for part in parts)
    return (across, down) if (down.floor_size, across.floor_size) == layer.output[1:] else None


def explain_layer(layer: LayerSummary) -> list[str]:
    """The formulas of a layer with its numbers, or that there are none."""
    found = get_conv_axes(layer)
    if found and layer.weights:
        return conv_result(found, layer.input[0], layer.output[0]).lines
    if found:
        return pool_result(
            found, layer.input[0], has_padding=any(side.padding for side in found)
        ).lines
    if layer.kind == "fully connected":
        inputs, units = layer.input[0], layer.output[0]
        return [
            f"fully connected: {inputs:,} -> {units:,}",
            f"  weights = inputs * units = {inputs:,} * {units:,} = {layer.weights:,}; biases = {layer.biases:,}",
            f"  multiply-adds = weights = {layer.multiply_adds:,}; FLOPs = 2 * multiply-adds = {layer.flops:,}",
        ]
    return [f"{layer.kind}: the chapter has no formulas for it"]
