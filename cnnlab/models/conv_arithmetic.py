"""The formulas of "Full Description of the Convolutional Layer" and "Max Pooling" with numbers put in. The chapter's
round up; PyTorch rounds down, and lets go of what is left over."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cnnlab.models.summary import Layer


@dataclass(frozen=True)
class Side:
    """A filter that slides along one side of a volume. Raises ValueError for what has no output."""

    name: str  # w or h
    pixels: int
    extent: int
    stride: int
    padding: int

    def __post_init__(self) -> None:
        for letter, value, least in ((self.name, self.pixels, 1), ("e", self.extent, 1), ("s", self.stride, 1),
                                     ("p", self.padding, 0)):  # fmt: skip
            if value < least:
                raise ValueError(f"{letter} must be at least {least}, not {value}")
        if self.room < 0:
            raise ValueError(f"e={self.extent} is larger than {self.name}={self.pixels} with p={self.padding} around")

    @property
    def room(self) -> int:
        return self.pixels - self.extent + 2 * self.padding

    @property
    def up(self) -> int:
        """The chapter's."""
        return -(-self.room // self.stride) + 1

    @property
    def down(self) -> int:
        """PyTorch's, unless it is told to round up."""
        return self.room // self.stride + 1

    @property
    def left_over(self) -> int:
        """Pixels at the end that no filter reaches when rounding down; padding not counted."""
        return max(0, self.room % self.stride - self.padding)

    def formula(self, *, padded: bool) -> str:
        around, numbers = (" + 2p", f" + 2*{self.padding}") if padded else ("", "")
        put_in = f"ceil(({self.pixels} - {self.extent}{numbers}) / {self.stride}) + 1"
        return f"{self.name}_out = ceil(({self.name}_in - e{around}) / s) + 1 = {put_in} = {self.up}"


def rounding(sides: tuple[Side, Side]) -> Iterator[str]:
    """Whether the chapter's ceiling and PyTorch's floor differ, and what the floor leaves out."""
    if all(side.up == side.down for side in sides):
        yield "PyTorch rounds down: the same here"
        return
    across, down = sides
    yield f"PyTorch rounds down: {across.down}x{down.down} where the chapter has {across.up}x{down.up}"
    counts = ((across.left_over, "column"), (down.left_over, "row"))
    lost = [f"{word if n == 1 else f'{n} {word}s'}" for n, word in counts if n]
    yield f"no filter reaches the last {' and '.join(lost)}" if lost else "what the floor leaves out is padding alone"


@dataclass(frozen=True)
class Answer:
    """A layer's formulas with numbers put in, line by line, and the numbers for programs. Sizes are (w, h, depth)."""

    lines: list[str]
    numbers: dict[str, Any]


def at_least_one(**values: int) -> None:
    for letter, value in values.items():
        if value < 1:
            raise ValueError(f"{letter} must be at least 1, not {value}")


def volumes(sides: tuple[Side, Side], d: int, k: int) -> dict[str, Any]:
    return {
        "input": [*(side.pixels for side in sides), d],
        "output": [*(side.down for side in sides), k],
        "output_chapter": [*(side.up for side in sides), k],
        "left_over": [side.left_over for side in sides],
    }


def times(volume: list[int]) -> str:
    return "x".join(map(str, volume))


def convolution(sides: tuple[Side, Side], d: int, k: int) -> Answer:
    """Of k filters over a depth of d; `sides` are width and height."""
    at_least_one(d=d, k=k)
    across, down = (side.extent for side in sides)
    filters, put_in = ("e^2", f"{across}^2") if across == down else ("e_w e_h", f"{across} * {down}")
    found = volumes(sides, d, k)
    weights, (w, h, _) = k * d * across * down, found["output"]
    work = w * h * weights
    lines = [
        f"convolution: {times(found['input'])} -> {times(found['output'])}",
        *(f"  {side.formula(padded=True)}" for side in sides),
        f"  d_out = k = {k}",
        f"  weights = k d_in {filters} = {k} * {d} * {put_in} = {weights:,}; biases = k = {k:,}",
        f"  multiply-adds = w_out h_out * weights = {w} * {h} * {weights:,} = {work:,}",
        f"  FLOPs = 2 * multiply-adds = {2 * work:,}",
        *(f"  {line}" for line in rounding(sides)),
    ]
    return Answer(lines, found | {"weights": weights, "biases": k, "multiply_adds": work, "flops": 2 * work})


def pooling(sides: tuple[Side, Side], d: int, *, padded: bool = False) -> Answer:
    """Over a depth of d; `padded`: with zeros around, which the chapter's pooling does not have."""
    at_least_one(d=d)
    found = volumes(sides, d, d)
    lines = [
        f"pooling: {times(found['input'])} -> {times(found['output'])}",
        *(f"  {side.formula(padded=padded)}" for side in sides),
        "  no parameters",
        *(f"  {line}" for line in rounding(sides)),
    ]
    return Answer(lines, found)


def conv(*, w: int, h: int, d: int, e: int, s: int, p: int, k: int) -> Answer:
    """The chapter's letters: an input of w x h x d with zero padding p, k filters of e x e x d at stride s. Raises
    ValueError where there is no such layer."""
    return convolution((Side("w", w, e, s, p), Side("h", h, e, s, p)), d, k)


def pool(*, w: int, h: int, d: int, e: int, s: int) -> Answer:
    """Pooling of e x e at stride s over w x h x d. Raises ValueError where there is no such layer."""
    return pooling((Side("w", w, e, s, 0), Side("h", h, e, s, 0)), d)


SHAPES: dict[str, Callable[..., Answer]] = {"conv": conv, "pool": pool}


def sides(layer: Layer) -> tuple[Side, Side] | None:
    """Width and height of a layer that slides and that the formulas describe (dilation and ceil_mode they do not)."""
    if layer.extent is None or layer.stride is None or layer.padding is None:
        return None
    parts: Any = zip("hw", layer.input[1:], layer.extent, layer.stride, layer.padding, strict=True)
    down, across = (Side(*part) for part in parts)
    return (across, down) if (down.down, across.down) == layer.output[1:] else None


def of_layer(layer: Layer) -> list[str]:
    """The formulas of a layer with its numbers, or that there are none."""
    found = sides(layer)
    if found and layer.weights:
        return convolution(found, layer.input[0], layer.output[0]).lines
    if found:
        return pooling(found, layer.input[0], padded=any(side.padding for side in found)).lines
    if layer.kind == "fully connected":
        inputs, units = layer.input[0], layer.output[0]
        return [
            f"fully connected: {inputs:,} -> {units:,}",
            f"  weights = inputs * units = {inputs:,} * {units:,} = {layer.weights:,}; biases = {layer.biases:,}",
            f"  multiply-adds = weights = {layer.multiply_adds:,}; FLOPs = 2 * multiply-adds = {layer.flops:,}",
        ]
    return [f"{layer.kind}: the chapter has no formulas for it"]
