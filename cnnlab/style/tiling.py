"""Overlapping tiles of an image too large for one pass through the network.

Each tile has enough margin that the feature maps of its inner part equal the whole image's.
"""

from dataclasses import dataclass
from itertools import product
from math import ceil

from torch import Tensor

from cnnlab.style.scales import Size
from cnnlab.style.torus import add_wrapped, take_wrapped

TileSpan = tuple[slice, slice]  # pixels with margin; pixels of the inner part


@dataclass(frozen=True)
class Tile:
    """The rows and columns of an image that a tile covers, with margin and without.

    `wraps`: positions outside the image are those of its opposite side.
    """

    rows: TileSpan
    columns: TileSpan
    wraps: bool = False

    def crop(self, x: Tensor) -> Tensor:
        """Return the tile with its margin, (1, K, h, w), of an image (1, K, H, W)."""
        if self.wraps:
            return take_wrapped(x, *self.wrapped_ranges(x))
        return x[..., self.rows[0], self.columns[0]]

    def add_crop(self, x: Tensor, values: Tensor) -> None:
        """Add values (1, K, h, w) of the tile with its margin to (1, K, H, W), in place."""
        if self.wraps:
            add_wrapped(x, values, *self.wrapped_ranges(x))
        else:
            self.crop(x).add_(values)

    def wrapped_ranges(self, x: Tensor) -> tuple[range, range]:
        """Return the rows and columns with margin, also those outside of (1, K, H, W)."""
        (rows, _), (columns, _) = self.rows, self.columns
        height, width = x.shape[2:]
        return (
            range(rows.start, height if rows.stop is None else rows.stop),
            range(columns.start, width if columns.stop is None else columns.stop),
        )

    def crop_valid(self, maps: Tensor, stride: int) -> Tensor:
        """Return the inner part of the tile's own maps, one position every `stride` pixels."""
        return maps[..., slice_of_tile(*self.rows, stride), slice_of_tile(*self.columns, stride)]

    def crop_whole_maps(self, maps: Tensor, stride: int) -> Tensor:
        """Return the same positions of the whole image's maps."""
        rows, columns = (
            slice_of_whole(self.rows[1], stride),
            slice_of_whole(self.columns[1], stride),
        )
        return maps[..., rows, columns]


def slice_of_whole(inner: slice, stride: int) -> slice:
    """Return a tile's inner pixels as positions of the whole image's maps.

    The last tile extends to the end of the maps, whatever pixels remain of a position.
    """
    return slice(inner.start // stride, None if inner.stop is None else inner.stop // stride)


def slice_of_tile(outer: slice, inner: slice, stride: int) -> slice:
    """Return a tile's inner pixels as positions of the tile's own maps."""
    first = (inner.start - outer.start) // stride
    return slice(first, None if inner.stop is None else (inner.stop - outer.start) // stride)


def make_tiles(
    size: Size, max_pixels: int, radius: int, alignment: int, *, wrap: bool = False
) -> list[Tile]:
    """Return the tiles of an image, of at most `max_pixels` each and the fewest pixels in total.

    Where even the smallest tile has more pixels, the smallest is used. `radius`: of the network's
    receptive field, in pixels; `alignment`: stride of its deepest maps, which tiles start at;
    `wrap`: whether margins at the border are of the opposite side.
    """
    if size[0] * size[1] <= max_pixels:
        return [Tile((slice(0, None), slice(0, None)), (slice(0, None), slice(0, None)))]
    margin = ceil(radius / alignment) * alignment

    def largest_tile_pixels(lengths: Size) -> int:
        rows, columns = (padded_tile_length(size[i], lengths[i], margin, wrap) for i in (0, 1))
        return rows * columns

    def total_pixels(lengths: Size) -> int:
        rows, columns = (total_padded_length(size[i], lengths[i], margin) for i in (0, 1))
        return rows * columns

    row_lengths, column_lengths = (candidate_tile_lengths(length, alignment) for length in size)
    candidates = product(row_lengths, column_lengths)
    fitting = [lengths for lengths in candidates if largest_tile_pixels(lengths) <= max_pixels]
    height, width = min(fitting or [(alignment, alignment)], key=total_pixels)
    make_spans = make_wrapped_spans if wrap else make_tile_spans
    row_spans = make_spans(size[0], height, margin)
    column_spans = make_spans(size[1], width, margin)
    return [Tile(rows, columns, wrap) for rows in row_spans for columns in column_spans]


def candidate_tile_lengths(length: int, alignment: int) -> list[int]:
    """Return the lengths of 1, 2, ... equal tiles, as multiples of `alignment`."""
    counts = range(1, ceil(length / alignment) + 1)
    return list(dict.fromkeys(ceil(length / count / alignment) * alignment for count in counts))


def padded_tile_length(length: int, inner: int, margin: int, wrap: bool) -> int:
    """Return the length of the longest tile with its margins."""
    if inner >= length:
        return length
    return inner + 2 * margin if wrap else min(length, inner + 2 * margin)


def total_padded_length(length: int, inner: int, margin: int) -> int:
    """Return the summed length of all tiles with their margins."""
    return length + 2 * margin * (ceil(length / inner) - 1)


def make_tile_spans(length: int, inner: int, margin: int) -> list[TileSpan]:
    """Return 0..length in spans of `inner` pixels, the last one shorter, with margins."""
    spans = []
    for start in range(0, length, inner):
        stop = start + inner
        is_last = stop >= length
        outer = slice(max(0, start - margin), None if stop + margin >= length else stop + margin)
        spans.append((outer, slice(start, None if is_last else stop)))
    return spans


def make_wrapped_spans(length: int, inner: int, margin: int) -> list[TileSpan]:
    """Return 0..length in spans of `inner` pixels; margins go on at the opposite side."""
    if inner >= length:  # the network itself wraps
        return [(slice(0, None), slice(0, None))]
    ends = [(start, min(start + inner, length)) for start in range(0, length, inner)]
    return [(slice(start - margin, stop + margin), slice(start, stop)) for start, stop in ends]
