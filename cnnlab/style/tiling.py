"""A picture too large to be looked at in one go, in pieces: each with so much around it that the maps of its inner part
are those of the whole picture's."""

from dataclasses import dataclass
from itertools import product
from math import ceil

from torch import Tensor

from cnnlab.style.scales import Size

TileSpan = tuple[slice, slice]  # of pixels that are looked at; of those that count


@dataclass(frozen=True)
class Tile:
    """`down` and `across`: what of a picture is looked at, and what of that counts."""

    rows: TileSpan
    columns: TileSpan

    def crop(self, x: Tensor) -> Tensor:
        """(1, K, H, W) -> what is looked at."""
        return x[..., self.rows[0], self.columns[0]]

    def crop_valid(self, maps: Tensor, stride: int) -> Tensor:
        """The piece's own maps, a place every `stride` pixels -> those that count."""
        return maps[..., slice_of_tile(*self.rows, stride), slice_of_tile(*self.columns, stride)]

    def crop_whole_maps(self, maps: Tensor, stride: int) -> Tensor:
        """The whole picture's maps -> those same places of them."""
        return maps[
            ..., slice_of_whole(self.rows[1], stride), slice_of_whole(self.columns[1], stride)
        ]


def slice_of_whole(inner: slice, stride: int) -> slice:
    """Pixels that count, as places of the whole picture's maps. The last part goes to their end, whose pixels may be
    fewer than a place has."""
    return slice(inner.start // stride, None if inner.stop is None else inner.stop // stride)


def slice_of_tile(outer: slice, inner: slice, stride: int) -> slice:
    """Pixels that count, among the places of those that are looked at."""
    first = (inner.start - outer.start) // stride
    return slice(first, None if inner.stop is None else (inner.stop - outer.start) // stride)


def make_tiles(size: Size, max_pixels: int, radius: int, alignment: int) -> list[Tile]:
    """A picture of a size in pieces of at most `most` pixels, as few as there are to look at in all; where not even the
    smallest can be so small, in those. `reach`: pixels that the network sees around a place; `grain`: pixels between
    two places of its deepest maps, at which alone it can be cut."""
    if size[0] * size[1] <= max_pixels:
        return [Tile((slice(0, None), slice(0, None)), (slice(0, None), slice(0, None)))]
    margin = ceil(radius / alignment) * alignment
    sides = [candidate_tile_lengths(length, alignment) for length in size]
    fits = [(tall, wide) for tall, wide in product(*sides)
            if padded_tile_length(size[0], tall, margin) * padded_tile_length(size[1], wide, margin) <= max_pixels]  # fmt: skip
    tall, wide = min(
        fits or [(alignment, alignment)],
        key=lambda one: (
            total_padded_length(size[0], one[0], margin)
            * total_padded_length(size[1], one[1], margin)
        ),
    )
    across = make_tile_spans(size[1], wide, margin)
    return [Tile(down, one) for down in make_tile_spans(size[0], tall, margin) for one in across]


def candidate_tile_lengths(length: int, grain: int) -> list[int]:
    """Lengths of equal parts, multiples of `grain`: one part, two, ..."""
    counts = range(1, ceil(length / grain) + 1)
    return list(dict.fromkeys(ceil(length / count / grain) * grain for count in counts))


def padded_tile_length(length: int, part: int, margin: int) -> int:
    """Pixels of the longest part with what is around it."""
    return length if part >= length else min(length, part + 2 * margin)


def total_padded_length(length: int, part: int, margin: int) -> int:
    """And of all parts."""
    return length + 2 * margin * (ceil(length / part) - 1)


def make_tile_spans(length: int, part: int, margin: int) -> list[TileSpan]:
    """0..length in parts of a length, the last as long as is left, each with its margins."""
    found = []
    for start in range(0, length, part):
        stop = start + part
        last = stop >= length
        outer = slice(max(0, start - margin), None if stop + margin >= length else stop + margin)
        found.append((outer, slice(start, None if last else stop)))
    return found
