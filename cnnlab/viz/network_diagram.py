"""The volumes of a network as boxes in perspective, as LeNet's and AlexNet's are drawn: one layout, SVG and PNG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from cnnlab.core.quoting import printable
from cnnlab.viz.base import render_figure, wrap_text

DIAGRAM_WIDTH, DIAGRAM_MARGIN, BOX_GAP = (
    980,
    20,
    22,
)  # of the drawing, around it, and between boxes, in pixels
DIAGRAM_FONT_SIZE, DIAGRAM_LETTER_WIDTH, DIAGRAM_LINE_HEIGHT = (
    11,
    6.7,
    14,
)  # pixels: size of the text, width of a letter and height of a line of it
MAX_CAPTION_LETTERS = 16  # letters of a line below a box
MAX_BOX_HEIGHT, MAX_BOX_THICKNESS, MIN_BOX_SIDE = 120, 64, 5  # of a box, in pixels
BOX_SLANT = 0.35  # of a box's width goes up and to the right
# Okabe & Ito's palette: (front, top, side) of the picture, of maps, and of layers without extent.
INPUT_FACE_COLORS = ("#BBBBBB", "#DDDDDD", "#999999")
MAP_FACE_COLORS = ("#56B4E9", "#A9D8F4", "#0072B2")
UNIT_FACE_COLORS = ("#E69F00", "#F3CF80", "#D55E00")
DiagramPoint = tuple[float, float]


@dataclass(frozen=True)
class LayerVolume:
    """What a layer puts out; a fully connected layer's units are its depth, at height and width 1."""

    name: str
    depth: int
    height: int
    width: int


@dataclass(frozen=True)
class DiagramBox:
    """A volume in its place: three faces as (colour, corners), and lines of text from the middle of a point down."""

    faces: tuple[tuple[str, tuple[DiagramPoint, ...]], ...]
    caption_lines: tuple[str, ...]
    caption_position: DiagramPoint


@dataclass(frozen=True)
class NetworkDiagram:
    width: float
    height: float
    title: tuple[str, ...]
    boxes: tuple[DiagramBox, ...]
    note: str


DIAGRAM_NOTE = "width x height x depth; sides drawn as square roots"


def format_volume_caption(volume: LayerVolume) -> tuple[str, ...]:
    size = f"{volume.width}x{volume.height}x{volume.depth}"
    if volume.height == volume.width == 1:
        size = f"{volume.depth:,} units"
    return (*wrap_text(volume.name, MAX_CAPTION_LETTERS, 3), size)


def compute_box_sizes(volumes: Sequence[LayerVolume]) -> list[tuple[float, float, float]]:
    """(thickness, height, slant) in pixels: square roots of depth, height and width."""
    deepest = max(volume.depth for volume in volumes)
    largest = max(max(volume.height, volume.width) for volume in volumes)

    def side(pixels: int) -> float:
        return max(MIN_BOX_SIDE, MAX_BOX_HEIGHT * (pixels / largest) ** 0.5)

    return [
        (
            max(MIN_BOX_SIDE, MAX_BOX_THICKNESS * (v.depth / deepest) ** 0.5),
            side(v.height),
            BOX_SLANT * side(v.width),
        )
        for v in volumes
    ]


def make_box_faces(
    corner: DiagramPoint, size: tuple[float, float, float], colours: tuple[str, str, str]
) -> tuple:
    """Front, top and side of a box whose front begins, left and below, at `corner`; y grows downwards."""
    (x, y), (thick, tall, slant) = corner, size
    right, top = x + thick, y - tall
    front = ((x, y), (right, y), (right, top), (x, top))
    lid = ((x, top), (right, top), (right + slant, top - slant), (x + slant, top - slant))
    flank = ((right, y), (right + slant, y - slant), (right + slant, top - slant), (right, top))
    return tuple(zip(colours, (front, lid, flank), strict=True))


def measure_box_width(volume: LayerVolume, size: tuple[float, float, float]) -> float:
    """Pixels across that a box and what is written below it take."""
    return max(
        size[0] + size[2], DIAGRAM_LETTER_WIDTH * max(map(len, format_volume_caption(volume)))
    )


def split_boxes_into_rows(
    volumes: Sequence[LayerVolume],
) -> Iterator[list[tuple[int, LayerVolume, tuple[float, float, float]]]]:
    """(number, volume, its size) in as many rows as they need."""
    row, right = list[tuple[int, LayerVolume, tuple[float, float, float]]](), float(DIAGRAM_MARGIN)
    for number, (volume, size) in enumerate(zip(volumes, compute_box_sizes(volumes), strict=True)):
        if row and right + measure_box_width(volume, size) > DIAGRAM_WIDTH - DIAGRAM_MARGIN:
            yield row
            row, right = [], float(DIAGRAM_MARGIN)
        row.append((number, volume, size))
        right += measure_box_width(volume, size) + BOX_GAP
    yield row


def layout_diagram(volumes: Sequence[LayerVolume], title: str) -> NetworkDiagram:
    """Boxes from left to right, row below row; no text meets another. Raises ValueError for no volumes."""
    if not volumes:
        raise ValueError("there are no volumes to draw")
    heading = tuple(
        wrap_text(title, int((DIAGRAM_WIDTH - 2 * DIAGRAM_MARGIN) / DIAGRAM_LETTER_WIDTH))
    )
    boxes, floor = list[DiagramBox](), float(DIAGRAM_MARGIN + DIAGRAM_LINE_HEIGHT * len(heading))
    right = DIAGRAM_LETTER_WIDTH * max(map(len, (DIAGRAM_NOTE, *heading)))
    for row in split_boxes_into_rows(volumes):
        floor, x = (
            floor + BOX_GAP + max(tall + slant for _, _, (_, tall, slant) in row),
            float(DIAGRAM_MARGIN),
        )
        for number, volume, size in row:
            colours = (
                INPUT_FACE_COLORS
                if number == 0
                else UNIT_FACE_COLORS
                if volume.height == volume.width == 1
                else MAP_FACE_COLORS
            )
            middle = x + measure_box_width(volume, size) / 2
            corner = (middle - (size[0] + size[2]) / 2, floor)
            boxes.append(
                DiagramBox(
                    make_box_faces(corner, size, colours),
                    format_volume_caption(volume),
                    (middle, floor + DIAGRAM_LINE_HEIGHT),
                )
            )
            x += measure_box_width(volume, size) + BOX_GAP
        right, floor = (
            max(right, x - BOX_GAP),
            floor
            + DIAGRAM_LINE_HEIGHT
            * (0.5 + max(len(format_volume_caption(volume)) for _, volume, _ in row)),
        )
    return NetworkDiagram(
        right + DIAGRAM_MARGIN,
        floor + 2 * DIAGRAM_LINE_HEIGHT + DIAGRAM_MARGIN,
        heading,
        tuple(boxes),
        DIAGRAM_NOTE,
    )


def iterate_diagram_texts(drawing: NetworkDiagram) -> Iterator[tuple[float, float, str, str]]:
    """(x, y of the baseline, where x is in the text, text) of all that is written."""
    for n, line in enumerate(drawing.title, 1):
        yield DIAGRAM_MARGIN, DIAGRAM_MARGIN + n * DIAGRAM_LINE_HEIGHT, "left", line
    for box in drawing.boxes:
        for n, line in enumerate(box.caption_lines):
            yield (
                box.caption_position[0],
                box.caption_position[1] + n * DIAGRAM_LINE_HEIGHT,
                "center",
                line,
            )
    yield DIAGRAM_MARGIN, drawing.height - DIAGRAM_MARGIN, "left", drawing.note


def render_network_svg(volumes: Sequence[LayerVolume], title: str) -> str:
    """An SVG picture that stands alone or within HTML; names mean themselves, whatever is in them."""
    drawing = layout_diagram(volumes, title)
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width:g} {drawing.height:g}" '
        f'width="{drawing.width:g}" height="{drawing.height:g}" role="img" font-family="monospace" '
        f'font-size="{DIAGRAM_FONT_SIZE}" fill="#222222">',
        f"<title>{escape(printable(title))}</title>",
        '<rect width="100%" height="100%" fill="#FFFFFF"/>',
    ]
    for box in drawing.boxes:
        for colour, corners in box.faces:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
            rows.append(
                f'<polygon points="{points}" fill="{colour}" stroke="#333333" stroke-width="0.7"/>'
            )
    for x, y, where, line in iterate_diagram_texts(drawing):
        anchor = "middle" if where == "center" else "start"
        rows.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(line)}</text>')
    return "\n".join([*rows, "</svg>"]) + "\n"


def draw_network_diagram(volumes: Sequence[LayerVolume], title: str) -> np.ndarray:
    """The same as (H, W, 3) uint8, at twice the SVG's pixels."""
    drawing = layout_diagram(volumes, title)
    figure = Figure(figsize=(drawing.width / 100, drawing.height / 100), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.set_axis_off()
    for box in drawing.boxes:
        for colour, corners in box.faces:
            axes.add_patch(Polygon(corners, facecolor=colour, edgecolor="#333333", linewidth=0.5))
    for x, y, where, line in iterate_diagram_texts(drawing):
        axes.text(x, y, line.replace("$", r"\$"), ha=where, va="baseline", family="monospace", fontsize=0.72 * DIAGRAM_FONT_SIZE,
                  color="#222222")  # fmt: skip
    return render_figure(figure)
