"""The volumes of a network as boxes in perspective, as LeNet's and AlexNet's are drawn: one layout, SVG and PNG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from cnnlab.core.quoting import plain
from cnnlab.viz.base import rendered

WIDE, MARGIN, GAP = 980, 20, 22  # of the drawing, around it, and between boxes, in pixels
TEXT, LETTER, LINE = 11, 6.7, 14  # pixels: size of the text, width of a letter and height of a line of it
LONGEST = 16  # letters of a line below a box
TALLEST, THICKEST, THINNEST = 120, 64, 5  # of a box, in pixels
SLANT = 0.35  # of a box's width goes up and to the right
# Okabe & Ito's palette: (front, top, side) of the picture, of maps, and of layers without extent.
GREYS = ("#BBBBBB", "#DDDDDD", "#999999")
BLUES = ("#56B4E9", "#A9D8F4", "#0072B2")
ORANGES = ("#E69F00", "#F3CF80", "#D55E00")
Point = tuple[float, float]


@dataclass(frozen=True)
class Volume:
    """What a layer puts out; a fully connected layer's units are its depth, at height and width 1."""

    name: str
    depth: int
    height: int
    width: int


@dataclass(frozen=True)
class Box:
    """A volume in its place: three faces as (colour, corners), and lines of text from the middle of a point down."""

    faces: tuple[tuple[str, tuple[Point, ...]], ...]
    text: tuple[str, ...]
    at: Point


@dataclass(frozen=True)
class Drawing:
    width: float
    height: float
    title: tuple[str, ...]
    boxes: tuple[Box, ...]
    note: str


NOTE = "width x height x depth; sides drawn as square roots"


def captions(volume: Volume) -> tuple[str, ...]:
    size = f"{volume.width}x{volume.height}x{volume.depth}"
    if volume.height == volume.width == 1:
        size = f"{volume.depth:,} units"
    return (*wrap(plain(volume.name), LONGEST, max_lines=3, placeholder="…"), size)


def sized(volumes: Sequence[Volume]) -> list[tuple[float, float, float]]:
    """(thickness, height, slant) in pixels: square roots of depth, height and width."""
    deepest = max(volume.depth for volume in volumes)
    largest = max(max(volume.height, volume.width) for volume in volumes)

    def side(pixels: int) -> float:
        return max(THINNEST, TALLEST * (pixels / largest) ** 0.5)

    return [
        (max(THINNEST, THICKEST * (v.depth / deepest) ** 0.5), side(v.height), SLANT * side(v.width)) for v in volumes
    ]


def faces(corner: Point, size: tuple[float, float, float], colours: tuple[str, str, str]) -> tuple:
    """Front, top and side of a box whose front begins, left and below, at `corner`; y grows downwards."""
    (x, y), (thick, tall, slant) = corner, size
    right, top = x + thick, y - tall
    front = ((x, y), (right, y), (right, top), (x, top))
    lid = ((x, top), (right, top), (right + slant, top - slant), (x + slant, top - slant))
    flank = ((right, y), (right + slant, y - slant), (right + slant, top - slant), (right, top))
    return tuple(zip(colours, (front, lid, flank), strict=True))


def wide(volume: Volume, size: tuple[float, float, float]) -> float:
    """Pixels across that a box and what is written below it take."""
    return max(size[0] + size[2], LETTER * max(map(len, captions(volume))))


def in_rows(volumes: Sequence[Volume]) -> Iterator[list[tuple[int, Volume, tuple[float, float, float]]]]:
    """(number, volume, its size) in as many rows as they need."""
    row, right = list[tuple[int, Volume, tuple[float, float, float]]](), float(MARGIN)
    for number, (volume, size) in enumerate(zip(volumes, sized(volumes), strict=True)):
        if row and right + wide(volume, size) > WIDE - MARGIN:
            yield row
            row, right = [], float(MARGIN)
        row.append((number, volume, size))
        right += wide(volume, size) + GAP
    yield row


def layout(volumes: Sequence[Volume], title: str) -> Drawing:
    """Boxes from left to right, row below row; no text meets another. Raises ValueError for no volumes."""
    if not volumes:
        raise ValueError("there are no volumes to draw")
    heading = tuple(wrap(plain(title), int((WIDE - 2 * MARGIN) / LETTER)))
    boxes, floor = list[Box](), float(MARGIN + LINE * len(heading))
    right = LETTER * max(map(len, (NOTE, *heading)))
    for row in in_rows(volumes):
        floor, x = floor + GAP + max(tall + slant for _, _, (_, tall, slant) in row), float(MARGIN)
        for number, volume, size in row:
            colours = GREYS if number == 0 else ORANGES if volume.height == volume.width == 1 else BLUES
            middle = x + wide(volume, size) / 2
            corner = (middle - (size[0] + size[2]) / 2, floor)
            boxes.append(Box(faces(corner, size, colours), captions(volume), (middle, floor + LINE)))
            x += wide(volume, size) + GAP
        right, floor = max(right, x - GAP), floor + LINE * (0.5 + max(len(captions(volume)) for _, volume, _ in row))
    return Drawing(right + MARGIN, floor + 2 * LINE + MARGIN, heading, tuple(boxes), NOTE)


def texts(drawing: Drawing) -> Iterator[tuple[float, float, str, str]]:
    """(x, y of the baseline, where x is in the text, text) of all that is written."""
    for n, line in enumerate(drawing.title, 1):
        yield MARGIN, MARGIN + n * LINE, "left", line
    for box in drawing.boxes:
        for n, line in enumerate(box.text):
            yield box.at[0], box.at[1] + n * LINE, "center", line
    yield MARGIN, drawing.height - MARGIN, "left", drawing.note


def volumes_svg(volumes: Sequence[Volume], title: str) -> str:
    """An SVG picture that stands alone or within HTML; names mean themselves, whatever is in them."""
    drawing = layout(volumes, title)
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width:g} {drawing.height:g}" '
        f'width="{drawing.width:g}" height="{drawing.height:g}" role="img" font-family="monospace" '
        f'font-size="{TEXT}" fill="#222222">',
        f"<title>{escape(plain(title))}</title>",
        '<rect width="100%" height="100%" fill="#FFFFFF"/>',
    ]
    for box in drawing.boxes:
        for colour, corners in box.faces:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
            rows.append(f'<polygon points="{points}" fill="{colour}" stroke="#333333" stroke-width="0.7"/>')
    for x, y, where, line in texts(drawing):
        anchor = "middle" if where == "center" else "start"
        rows.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(line)}</text>')
    return "\n".join([*rows, "</svg>"]) + "\n"


def volumes_figure(volumes: Sequence[Volume], title: str) -> np.ndarray:
    """The same as (H, W, 3) uint8, at twice the SVG's pixels."""
    drawing = layout(volumes, title)
    figure = Figure(figsize=(drawing.width / 100, drawing.height / 100), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.set_axis_off()
    for box in drawing.boxes:
        for colour, corners in box.faces:
            axes.add_patch(Polygon(corners, facecolor=colour, edgecolor="#333333", linewidth=0.5))
    for x, y, where, line in texts(drawing):
        axes.text(x, y, line.replace("$", r"\$"), ha=where, va="baseline", family="monospace", fontsize=0.72 * TEXT,
                  color="#222222")  # fmt: skip
    return rendered(figure)
