"""The formulas of "Full Description of the Convolutional Layer" and "Max Pooling", with numbers put
in. The chapter rounds up; PyTorch rounds down, so that pixels at the end may be uncovered."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cnnlab.models.summary import LayerSummary


@dataclass(frozen=True)
class ConvAxis:
    """A filter that slides along one side of a volume. Raises ValueError if there is no output."""

    name: str  # w or h
    input_size: int
    extent: int
    stride: int
    padding: int

    def __post_init__(self) -> None:
        check_at_least(1, **{self.name: self.input_size, "e": self.extent, "s": self.stride})
        check_at_least(0, p=self.padding)
        if self.slide_range < 0:
            side = f"{self.name}={self.input_size} with padding p={self.padding}"
            raise ValueError(f"e={self.extent} is larger than {side}")

    @property
    def slide_range(self) -> int:
        return self.input_size - self.extent + 2 * self.padding

    @property
    def ceil_size(self) -> int:
        """The chapter's output size."""
        return -(-self.slide_range // self.stride) + 1

    @property
    def floor_size(self) -> int:
        """PyTorch's output size with ceil_mode=False."""
        return self.slide_range // self.stride + 1

    @property
    def uncovered(self) -> int:
        """Pixels at the end that no filter covers when rounding down, without padding."""
        return max(0, self.slide_range % self.stride - self.padding)

    def format_formula(self, *, has_padding: bool) -> str:
        symbol, number = (" + 2p", f" + 2*{self.padding}") if has_padding else ("", "")
        formula = f"ceil(({self.name}_in - e{symbol}) / s) + 1"
        numbers = f"ceil(({self.input_size} - {self.extent}{number}) / {self.stride}) + 1"
        return f"{self.name}_out = {formula} = {numbers} = {self.ceil_size}"


def explain_rounding(sides: tuple[ConvAxis, ConvAxis]) -> Iterator[str]:
    """Yield whether the chapter's ceiling and PyTorch's floor differ, and the uncovered pixels."""
    if all(side.ceil_size == side.floor_size for side in sides):
        yield "PyTorch rounds down: the same here"
        return
    across, down = sides
    floor, ceiling = (
        f"{across.floor_size}x{down.floor_size}",
        f"{across.ceil_size}x{down.ceil_size}",
    )
    yield f"PyTorch rounds down: {floor} where the chapter has {ceiling}"
    counts = ((across.uncovered, "column"), (down.uncovered, "row"))
    uncovered = [noun if count == 1 else f"{count} {noun}s" for count, noun in counts if count]
    if uncovered:
        yield f"no filter covers the last {' and '.join(uncovered)}"
    else:
        yield "only padding is uncovered"


@dataclass(frozen=True)
class FormulaResult:
    """A layer's formulas with numbers put in, line by line, and the numbers for JSON. Sizes are
    (w, h, depth)."""

    lines: list[str]
    values: dict[str, Any]


def check_at_least(minimum: int, **values: int) -> None:
    for letter, value in values.items():
        if value < minimum:
            raise ValueError(f"{letter} must be at least {minimum}, not {value}")


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
    """Return the formulas of k filters over a depth of d; `sides` are width and height."""
    check_at_least(1, d=d, k=k)
    across, down = (side.extent for side in sides)
    area, numbers = ("e^2", f"{across}^2") if across == down else ("e_w e_h", f"{across} * {down}")
    volumes = collect_volumes(sides, d, k)
    weights, (w, h, _) = k * d * across * down, volumes["output"]
    work = w * h * weights
    lines = [
        f"convolution: {join_sizes(volumes['input'])} -> {join_sizes(volumes['output'])}",
        *(f"  {side.format_formula(has_padding=True)}" for side in sides),
        f"  d_out = k = {k}",
        f"  weights = k d_in {area} = {k} * {d} * {numbers} = {weights:,}; biases = k = {k:,}",
        f"  multiply-adds = w_out h_out * weights = {w} * {h} * {weights:,} = {work:,}",
        f"  FLOPs = 2 * multiply-adds = {2 * work:,}",
        *(f"  {line}" for line in explain_rounding(sides)),
    ]
    counts = {"weights": weights, "biases": k, "multiply_adds": work, "flops": 2 * work}
    return FormulaResult(lines, volumes | counts)


def pool_result(
    sides: tuple[ConvAxis, ConvAxis], d: int, *, has_padding: bool = False
) -> FormulaResult:
    """Return the formulas of pooling over a depth of d; the chapter's pooling has no padding."""
    check_at_least(1, d=d)
    volumes = collect_volumes(sides, d, d)
    lines = [
        f"pooling: {join_sizes(volumes['input'])} -> {join_sizes(volumes['output'])}",
        *(f"  {side.format_formula(has_padding=has_padding)}" for side in sides),
        "  no parameters",
        *(f"  {line}" for line in explain_rounding(sides)),
    ]
    return FormulaResult(lines, volumes)


def conv_formulas(*, w: int, h: int, d: int, e: int, s: int, p: int, k: int) -> FormulaResult:
    """Return the formulas, in the chapter's letters, of an input of w x h x d with zero padding p,
    and k filters of e x e x d at stride s. Raises ValueError if there is no such layer."""
    return conv_result((ConvAxis("w", w, e, s, p), ConvAxis("h", h, e, s, p)), d, k)


def pool_formulas(*, w: int, h: int, d: int, e: int, s: int) -> FormulaResult:
    """Return the formulas of e x e pooling at stride s over w x h x d. Raises ValueError if there
    is no such layer."""
    return pool_result((ConvAxis("w", w, e, s, 0), ConvAxis("h", h, e, s, 0)), d)


LAYER_FORMULAS: dict[str, Callable[..., FormulaResult]] = {
    "conv": conv_formulas,
    "pool": pool_formulas,
}


def get_conv_axes(layer: LayerSummary) -> tuple[ConvAxis, ConvAxis] | None:
    """Return width and height of a convolution or pooling that the formulas describe; they exclude
    dilation and ceil_mode."""
    if layer.kernel_size is None or layer.stride is None or layer.padding is None:
        return None
    parts: Any = zip(
        "hw", layer.input[1:], layer.kernel_size, layer.stride, layer.padding, strict=True
    )
    down, across = (ConvAxis(*part) for part in parts)
    return (across, down) if (down.floor_size, across.floor_size) == layer.output[1:] else None


def explain_layer(layer: LayerSummary) -> list[str]:
    """Return a layer's formulas with its numbers, or that there are none."""
    axes = get_conv_axes(layer)
    if axes and layer.weights:
        return conv_result(axes, layer.input[0], layer.output[0]).lines
    if axes:
        has_padding = any(axis.padding for axis in axes)
        return pool_result(axes, layer.input[0], has_padding=has_padding).lines
    if layer.kind == "fully connected":
        inputs, units = layer.input[0], layer.output[0]
        return [
            f"fully connected: {inputs:,} -> {units:,}",
            f"  weights = inputs * units = {inputs:,} * {units:,} = {layer.weights:,}; "
            f"biases = {layer.biases:,}",
            f"  multiply-adds = weights = {layer.multiply_adds:,}; "
            f"FLOPs = 2 * multiply-adds = {layer.flops:,}",
        ]
    return [f"{layer.kind}: the chapter has no formulas for it"]
