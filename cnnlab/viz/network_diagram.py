"""Draw the volumes of a network as boxes in perspective, as LeNet's and AlexNet's papers do.

`layout_diagram` places polygons and texts once; SVG and PNG draw the same shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from cnnlab.core.display_text import wrap_words
from cnnlab.core.quoting import printable
from cnnlab.viz.base import escape_mathtext, render_figure

# Pixels, unless another unit is given.
DIAGRAM_WIDTH, DIAGRAM_MARGIN, BOX_GAP = 980, 20, 22
DIAGRAM_FONT_SIZE, DIAGRAM_LETTER_WIDTH, DIAGRAM_LINE_HEIGHT = 11, 6.7, 14
MAX_CAPTION_LETTERS = 16  # letters of a line below a box
MAX_BOX_HEIGHT, MAX_BOX_THICKNESS, MIN_BOX_SIDE = 120, 64, 5
BOX_SLANT = 0.35  # share of a box's width that goes up and to the right
POINTS_PER_PIXEL = 0.72  # at 100 pixels an inch
OUTLINE_POINTS, OUTLINE_COLOR, TEXT_COLOR = 0.5, "#333333", "#222222"
# Okabe & Ito's palette: (front, top, side) of the image, of maps, and of fully connected units.
INPUT_FACE_COLORS = ("#BBBBBB", "#DDDDDD", "#999999")
MAP_FACE_COLORS = ("#56B4E9", "#A9D8F4", "#0072B2")
UNIT_FACE_COLORS = ("#E69F00", "#F3CF80", "#D55E00")
DIAGRAM_NOTE = "width x height x depth; sides drawn as square roots"
DiagramPoint = tuple[float, float]
BoxSize = tuple[float, float, float]  # thickness, height, slant


@dataclass(frozen=True)
class LayerVolume:
    """A layer's output; a fully connected layer's units are its depth, at height and width 1."""

    name: str
    depth: int
    height: int
    width: int


@dataclass(frozen=True)
class DiagramPolygon:
    """A filled and outlined face of a box."""

    color: str
    corners: tuple[DiagramPoint, ...]


@dataclass(frozen=True)
class DiagramText:
    """A line of text; `position` is on its baseline, at its left end or center."""

    position: DiagramPoint
    is_centered: bool
    line: str


@dataclass(frozen=True)
class DiagramBox:
    """A placed volume: its front, top and side, and the caption below them."""

    faces: tuple[DiagramPolygon, ...]
    captions: tuple[DiagramText, ...]


@dataclass(frozen=True)
class NetworkDiagram:
    """All shapes of a diagram, and its size in pixels; y grows downwards."""

    width: float
    height: float
    boxes: tuple[DiagramBox, ...]
    labels: tuple[DiagramText, ...]

    @property
    def polygons(self) -> Iterator[DiagramPolygon]:
        return chain.from_iterable(box.faces for box in self.boxes)

    @property
    def texts(self) -> Iterator[DiagramText]:
        return chain(self.labels[:-1], *(box.captions for box in self.boxes), self.labels[-1:])


def is_unit_volume(volume: LayerVolume) -> bool:
    return volume.height == volume.width == 1


def format_volume_caption(volume: LayerVolume) -> tuple[str, ...]:
    size = f"{volume.width}x{volume.height}x{volume.depth}"
    if is_unit_volume(volume):
        size = f"{volume.depth:,} units"
    return (*wrap_words(printable(volume.name), MAX_CAPTION_LETTERS, max_lines=3), size)


def compute_box_sizes(volumes: Sequence[LayerVolume]) -> list[BoxSize]:
    """Return (thickness, height, slant) in pixels: square roots of depth, height and width."""
    max_depth = max(volume.depth for volume in volumes)
    max_side = max(max(volume.height, volume.width) for volume in volumes)

    def scale(value: int, largest: int, pixels: int) -> float:
        return max(MIN_BOX_SIDE, pixels * (value / largest) ** 0.5)

    return [
        (
            scale(volume.depth, max_depth, MAX_BOX_THICKNESS),
            scale(volume.height, max_side, MAX_BOX_HEIGHT),
            BOX_SLANT * scale(volume.width, max_side, MAX_BOX_HEIGHT),
        )
        for volume in volumes
    ]


def get_face_colors(number: int, volume: LayerVolume) -> tuple[str, str, str]:
    if number == 0:
        return INPUT_FACE_COLORS
    return UNIT_FACE_COLORS if is_unit_volume(volume) else MAP_FACE_COLORS


def make_box_faces(
    corner: DiagramPoint, size: BoxSize, colors: tuple[str, str, str]
) -> tuple[DiagramPolygon, ...]:
    """Return front, top and side of a box; `corner` is the front's lower left one."""
    (x, y), (thickness, height, slant) = corner, size
    right, top = x + thickness, y - height
    front = ((x, y), (right, y), (right, top), (x, top))
    lid = ((x, top), (right, top), (right + slant, top - slant), (x + slant, top - slant))
    side = ((right, y), (right + slant, y - slant), (right + slant, top - slant), (right, top))
    return tuple(map(DiagramPolygon, colors, (front, lid, side)))


def stack_lines(
    lines: Sequence[str], position: DiagramPoint, *, is_centered: bool
) -> tuple[DiagramText, ...]:
    """Return lines of text below each other, the first at `position`."""
    x, y = position
    return tuple(
        DiagramText((x, y + number * DIAGRAM_LINE_HEIGHT), is_centered, line)
        for number, line in enumerate(lines)
    )


def measure_box_width(volume: LayerVolume, size: BoxSize) -> float:
    """Return the pixels across that a box and its caption take."""
    letters = max(map(len, format_volume_caption(volume)))
    return max(size[0] + size[2], DIAGRAM_LETTER_WIDTH * letters)


def split_boxes_into_rows(
    volumes: Sequence[LayerVolume],
) -> Iterator[list[tuple[int, LayerVolume, BoxSize]]]:
    """Yield (number, volume, size) in as many rows as they need."""
    row, right = list[tuple[int, LayerVolume, BoxSize]](), float(DIAGRAM_MARGIN)
    for number, (volume, size) in enumerate(zip(volumes, compute_box_sizes(volumes), strict=True)):
        if row and right + measure_box_width(volume, size) > DIAGRAM_WIDTH - DIAGRAM_MARGIN:
            yield row
            row, right = [], float(DIAGRAM_MARGIN)
        row.append((number, volume, size))
        right += measure_box_width(volume, size) + BOX_GAP
    yield row


def place_row(
    row: Sequence[tuple[int, LayerVolume, BoxSize]], floor: float
) -> tuple[list[DiagramBox], float]:
    """Return the boxes of a row that stand on y = `floor`, and the row's right end."""
    boxes, x = list[DiagramBox](), float(DIAGRAM_MARGIN)
    for number, volume, size in row:
        center = x + measure_box_width(volume, size) / 2
        corner = (center - (size[0] + size[2]) / 2, floor)
        faces = make_box_faces(corner, size, get_face_colors(number, volume))
        below = (center, floor + DIAGRAM_LINE_HEIGHT)
        captions = stack_lines(format_volume_caption(volume), below, is_centered=True)
        boxes.append(DiagramBox(faces, captions))
        x += measure_box_width(volume, size) + BOX_GAP
    return boxes, x - BOX_GAP


def layout_diagram(volumes: Sequence[LayerVolume], title: str) -> NetworkDiagram:
    """Place boxes from left to right, row below row, so that no text meets another. Raises
    ValueError for no volumes."""
    if not volumes:
        raise ValueError("there are no volumes to draw")
    letters = int((DIAGRAM_WIDTH - 2 * DIAGRAM_MARGIN) / DIAGRAM_LETTER_WIDTH)
    heading = wrap_words(printable(title), letters)
    boxes, floor = list[DiagramBox](), float(DIAGRAM_MARGIN + DIAGRAM_LINE_HEIGHT * len(heading))
    right = DIAGRAM_LETTER_WIDTH * max(map(len, (DIAGRAM_NOTE, *heading)))
    for row in split_boxes_into_rows(volumes):
        floor += BOX_GAP + max(height + slant for _, _, (_, height, slant) in row)
        row_boxes, row_right = place_row(row, floor)
        boxes += row_boxes
        right = max(right, row_right)
        caption_lines = max(len(format_volume_caption(volume)) for _, volume, _ in row)
        floor += DIAGRAM_LINE_HEIGHT * (0.5 + caption_lines)
    height = floor + 2 * DIAGRAM_LINE_HEIGHT + DIAGRAM_MARGIN
    top = (DIAGRAM_MARGIN, DIAGRAM_MARGIN + DIAGRAM_LINE_HEIGHT)
    labels = stack_lines(heading, top, is_centered=False)
    note = DiagramText((DIAGRAM_MARGIN, height - DIAGRAM_MARGIN), False, DIAGRAM_NOTE)
    return NetworkDiagram(right + DIAGRAM_MARGIN, height, tuple(boxes), (*labels, note))


def polygon_to_svg(polygon: DiagramPolygon) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in polygon.corners)
    width = OUTLINE_POINTS / POINTS_PER_PIXEL
    outline = f'stroke="{OUTLINE_COLOR}" stroke-width="{width:.1f}"'
    return f'<polygon points="{points}" fill="{polygon.color}" {outline}/>'


def text_to_svg(text: DiagramText) -> str:
    x, y = text.position
    anchor = "middle" if text.is_centered else "start"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text.line)}</text>'


def render_network_svg(volumes: Sequence[LayerVolume], title: str) -> str:
    """Return an SVG image that stands alone or within HTML; names are escaped."""
    diagram = layout_diagram(volumes, title)
    size = f'width="{diagram.width:g}" height="{diagram.height:g}"'
    font = f'font-family="monospace" font-size="{DIAGRAM_FONT_SIZE}" fill="{TEXT_COLOR}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {diagram.width:g} '
        f'{diagram.height:g}" {size} role="img" {font}>',
        f"<title>{escape(printable(title))}</title>",
        '<rect width="100%" height="100%" fill="#FFFFFF"/>',
        *map(polygon_to_svg, diagram.polygons),
        *map(text_to_svg, diagram.texts),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def add_text(axes: Axes, text: DiagramText) -> None:
    """Add a line of text to matplotlib's axes; `$` is a letter."""
    alignment = "center" if text.is_centered else "left"
    font = {"family": "monospace", "size": POINTS_PER_PIXEL * DIAGRAM_FONT_SIZE}
    line = escape_mathtext(text.line)
    axes.text(*text.position, line, font, ha=alignment, va="baseline", color=TEXT_COLOR)


def draw_network_diagram(volumes: Sequence[LayerVolume], title: str) -> np.ndarray:
    """Return the same image as (H, W, 3) uint8, at twice the SVG's pixels."""
    diagram = layout_diagram(volumes, title)
    figure = Figure(figsize=(diagram.width / 100, diagram.height / 100), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, diagram.width), ylim=(diagram.height, 0))
    axes.set_axis_off()
    for polygon in diagram.polygons:
        face = Polygon(polygon.corners, facecolor=polygon.color, edgecolor=OUTLINE_COLOR)
        face.set_linewidth(OUTLINE_POINTS)
        axes.add_patch(face)
    for text in diagram.texts:
        add_text(axes, text)
    return render_figure(figure)
