import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from cnnlab.viz.network_diagram import (
    DIAGRAM_LETTER_WIDTH,
    DIAGRAM_LINE_HEIGHT,
    DiagramBox,
    DiagramText,
    LayerVolume,
    draw_network_diagram,
    layout_diagram,
    render_network_svg,
)

MANY = [LayerVolume(f"block_{n}.convolution", 2**n, 300 // n, 224 // n) for n in range(1, 12)] * 4
MNIST = [
    LayerVolume("image", 1, 28, 28),
    LayerVolume("conv_1", 32, 28, 28),
    LayerVolume("output", 10, 1, 1),
]
SVG = "{http://www.w3.org/2000/svg}"
Extent = tuple[float, float, float, float]  # left, right, top, bottom


def measure_text(text: DiagramText) -> Extent:
    (x, y), width = text.position, DIAGRAM_LETTER_WIDTH * len(text.line)
    left = x - width / 2 if text.is_centered else x
    return left, left + width, y - 0.8 * DIAGRAM_LINE_HEIGHT, y + 0.2 * DIAGRAM_LINE_HEIGHT


def measure_box(box: DiagramBox) -> Extent:
    points = [point for face in box.faces for point in face.corners]
    (left, *_, right), (top, *_, bottom) = (sorted(axis) for axis in zip(*points, strict=True))
    return left, right, top, bottom


@pytest.mark.parametrize(
    "volumes", [MANY, MANY[:1], [LayerVolume("a" * 300, 10**9, 10**6, 1)] * 30]
)
def test_no_text_overlaps_another_or_a_box_or_leaves_the_diagram(
    volumes: list[LayerVolume],
) -> None:
    diagram = layout_diagram(volumes, "a title that is long " * 20)
    extents = [*map(measure_text, diagram.texts), *map(measure_box, diagram.boxes)]
    for a, b in itertools.combinations(extents, 2):
        is_apart = a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
        assert is_apart, f"{a} overlaps {b}"
    for left, right, top, bottom in extents:
        assert left >= 0 and right <= diagram.width and top >= 0 and bottom <= diagram.height


def test_names_are_escaped() -> None:
    hostile = '</text><script>alert("x")</script>&\x1b'
    volumes = [LayerVolume(hostile, 3, 8, 9), LayerVolume("fc $x^2$", 1000, 1, 1)]
    svg = render_network_svg(volumes, hostile)
    root = ElementTree.fromstring(svg)
    tags = {SVG + tag for tag in ("svg", "title", "rect", "polygon", "text")}
    assert {element.tag for element in root.iter()} == tags and "\x1b" not in svg
    text = "".join(text for element in root.iter(SVG + "text") for text in element.itertext())
    assert all(part in text for part in ("9x8x3", "1,000 units", "fc $x^2$"))


def test_svg_has_every_shape_and_png_its_size_and_colors() -> None:
    diagram = layout_diagram(MNIST, "mnist_cnn")
    root = ElementTree.fromstring(render_network_svg(MNIST, "mnist_cnn"))
    assert len(list(root.iter(SVG + "polygon"))) == len(list(diagram.polygons)) == 9
    assert len(list(root.iter(SVG + "text"))) == len(list(diagram.texts))
    image = draw_network_diagram(MNIST, "mnist_cnn")
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert image.dtype == np.uint8
    assert abs(image.shape[0] - 2 * height) <= 1 and abs(image.shape[1] - 2 * width) <= 1
    colors = {tuple(color) for color in image.reshape(-1, 3).tolist()}
    assert {(0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)} <= colors


def test_sides_are_square_roots() -> None:
    volumes = [LayerVolume("a", 4, 32, 32), LayerVolume("b", 16, 8, 8)]

    def measure_front(box: DiagramBox) -> tuple[float, float]:
        front = box.faces[0].corners
        return front[1][0] - front[0][0], front[0][1] - front[2][1]

    first, second = map(measure_front, layout_diagram(volumes, "t").boxes)
    assert first[1] == pytest.approx(2 * second[1]) and second[0] == pytest.approx(2 * first[0])


def test_no_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match="no volumes"):
        layout_diagram([], "t")
