from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.viz import image_grid
from cnnlab.viz.image_grid import GridCell, draw_image_grid, wrap_caption

HEAT = np.arange(9.0).reshape(3, 3)


def test_texts_neither_overlap_nor_leave_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long labels, captions and titles, as the renderer measures them."""
    figures: list[Figure] = []
    render = image_grid.render_figure
    monkeypatch.setattr(
        image_grid, "render_figure", lambda figure: figures.append(figure) or render(figure)
    )
    long = "a class with a long, long name of $x$ and <b> W" * 3
    rows = [
        [
            GridCell(HEAT, long, "heat"),
            GridCell(None),
            GridCell(HEAT - 4, f"12.3\n{long}", "signed"),
        ]
    ] * 3
    draw_image_grid(rows, long * 2, row_labels=[long] * 3, column_labels=[long] * 3, note=long * 4)
    (figure,) = figures
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts if text.get_text()]
    page = figure.bbox
    assert len(boxes) > 20
    for i, box in enumerate(boxes):
        assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1
        for other in boxes[i + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 1 or down <= 1


def test_signs_have_colors_and_a_map_of_zeros_is_blank() -> None:
    def find_color(cell: GridCell) -> list[int]:
        image = draw_image_grid([[cell]], "t", cell_inches=2)
        pixels = image[30:-30].reshape(-1, 3)
        return [int(v) for v in pixels[np.ptp(pixels.astype(int), axis=1).argmax()]]

    red, _, blue = find_color(GridCell(np.full((2, 2), 3.0), kind="signed"))
    assert red > blue + 50
    red, _, blue = find_color(GridCell(np.full((2, 2), -3.0), kind="signed"))
    assert blue > red + 50
    blank = draw_image_grid([[GridCell(np.zeros((2, 2)), kind="heat")]], "t")
    assert (blank == 235).all(-1).sum() > 1000
    broken = draw_image_grid([[GridCell(np.full((2, 2), np.nan), kind="signed")]], "t")
    assert (broken == 235).all(-1).sum() > 1000
    gray = draw_image_grid([[GridCell(np.full((2, 2, 1), 100, np.uint8))]], "t")
    color = draw_image_grid(
        [[GridCell(np.full((2, 3, 3), (10, 200, 30), np.uint8), frame_color="#D55E00")]], "t"
    )
    assert (gray == 100).all(-1).sum() > 1000 and (color == (10, 200, 30)).all(-1).sum() > 1000


@pytest.mark.parametrize(
    ("values", "reason", "expected"),
    [
        (np.zeros((2, 2)), None, "blank: zero everywhere"),
        (np.zeros((2, 2)), "the logit is constant", "blank: the logit is constant"),
        (np.full((2, 2), np.inf), None, "blank: values are not finite"),
    ],
)
def test_no_panel_is_blank_without_a_reason(
    monkeypatch: pytest.MonkeyPatch, values: np.ndarray, reason: str | None, expected: str
) -> None:
    lines: list[str] = []
    write = image_grid.write_text_lines

    def record(axes: Axes, x: float, y: float, texts: list[str], *args: Any, **kw: Any) -> None:
        lines.extend(texts)
        write(axes, x, y, texts, *args, **kw)

    monkeypatch.setattr(image_grid, "write_text_lines", record)
    cell = GridCell(values, kind="heat")
    draw_image_grid([[cell if reason is None else replace(cell, blank_reason=reason)]], "t")
    assert expected in " ".join(lines)


def test_sixty_wide_letters_stay_in_their_column(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    render = image_grid.render_figure
    monkeypatch.setattr(
        image_grid, "render_figure", lambda figure: figures.append(figure) or render(figure)
    )
    draw_image_grid([[GridCell(HEAT, "W" * 60, "heat")] * 4], "t", column_labels=["M" * 60] * 4)
    (figure,) = figures
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.axes[0].texts if text.get_text() != "t"]
    assert len(texts) == 4 * 6
    for text in texts:
        assert text.get_window_extent(renderer).width <= (0.9 + 0.06) * image_grid.GRID_DPI


def test_captions_that_do_not_fit_are_cut() -> None:
    assert wrap_caption("one two three four", 0.4, 10, 3) == ["one", "two", "thr…"]
    assert wrap_caption("a\nb", 1, 10, 3) == ["a", "b"] and wrap_caption("", 1, 10, 3) == []
