import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from cnnlab.viz.network_diagram import (
    DIAGRAM_LETTER_WIDTH,
    DIAGRAM_LINE_HEIGHT,
    LayerVolume,
    draw_network_diagram,
    iterate_diagram_texts,
    layout_diagram,
    render_network_svg,
)

MANY = [LayerVolume(f"block_{n}.convolution", 2**n, 300 // n, 224 // n) for n in range(1, 12)] * 4
SVG = "{http://www.w3.org/2000/svg}"


def boxes_of_text(
    volumes: list[LayerVolume], title: str
) -> list[tuple[float, float, float, float]]:
    """(left, right, top, bottom) of each line that is written."""
    found = []
    for x, y, where, line in iterate_diagram_texts(layout_diagram(volumes, title)):
        wide = DIAGRAM_LETTER_WIDTH * len(line)
        left = x - wide / 2 if where == "center" else x
        found.append(
            (left, left + wide, y - 0.8 * DIAGRAM_LINE_HEIGHT, y + 0.2 * DIAGRAM_LINE_HEIGHT)
        )
    return found


@pytest.mark.parametrize(
    "volumes", [MANY, MANY[:1], [LayerVolume("a" * 300, 10**9, 10**6, 1)] * 30]
)
def test_no_text_meets_another_or_a_box_or_leaves_the_drawing(volumes: list[LayerVolume]) -> None:
    title = "a title that is long " * 20
    drawing, lines = layout_diagram(volumes, title), boxes_of_text(volumes, title)
    faces = []
    for box in drawing.boxes:
        points = [point for _, corners in box.faces for point in corners]
        (left, *_, right), (top, *_, bottom) = (sorted(axis) for axis in zip(*points, strict=True))
        faces.append((left, right, top, bottom))
    for a, b in itertools.combinations(lines + faces, 2):
        apart = a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
        assert apart, f"{a} meets {b}"
    for left, right, top, bottom in lines + faces:
        assert left >= 0 and right <= drawing.width and top >= 0 and bottom <= drawing.height


def test_names_mean_themselves() -> None:
    hostile = '</text><script>alert("x")</script>&\x1b'
    svg = render_network_svg(
        [LayerVolume(hostile, 3, 8, 9), LayerVolume("fc $x^2$", 1000, 1, 1)], hostile
    )
    root = ElementTree.fromstring(svg)
    assert {element.tag for element in root.iter()} == {
        SVG + tag for tag in ("svg", "title", "rect", "polygon", "text")
    }
    written = "".join(text for element in root.iter(SVG + "text") for text in element.itertext())
    assert (
        "9x8x3" in written
        and "1,000 units" in written
        and "\x1b" not in svg
        and "fc $x^2$" in written
    )


def test_three_faces_a_volume_and_the_picture_is_the_same_drawing() -> None:
    volumes = [
        LayerVolume("picture", 1, 28, 28),
        LayerVolume("conv_1", 32, 28, 28),
        LayerVolume("output", 10, 1, 1),
    ]
    root = ElementTree.fromstring(render_network_svg(volumes, "mnist_cnn"))
    assert len(list(root.iter(SVG + "polygon"))) == 9
    picture = draw_network_diagram(volumes, "mnist_cnn")
    wide, tall = float(root.attrib["width"]), float(root.attrib["height"])
    assert (
        picture.dtype == np.uint8
        and abs(picture.shape[0] - 2 * tall) <= 1
        and abs(picture.shape[1] - 2 * wide) <= 1
    )
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert {(0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)} <= colours


def test_larger_sides_are_drawn_larger() -> None:
    first, second = layout_diagram(
        [LayerVolume("a", 4, 32, 32), LayerVolume("b", 16, 8, 8)], "t"
    ).boxes

    def size(box: object) -> tuple[float, float]:
        (_, front), *_ = box.faces  # type: ignore[attr-defined]
        return front[1][0] - front[0][0], front[0][1] - front[2][1]

    assert size(first)[1] == pytest.approx(2 * size(second)[1]) and size(second)[
        0
    ] == pytest.approx(2 * size(first)[0])


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no volumes"):
        layout_diagram([], "t")
