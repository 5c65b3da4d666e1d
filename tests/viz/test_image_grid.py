import numpy as np
import pytest
from matplotlib.figure import Figure

from cnnlab.viz import image_grid
from cnnlab.viz.image_grid import GridCell, draw_image_grid, wrap_caption

HEAT = np.arange(9.0).reshape(3, 3)


def test_no_text_falls_on_another_or_off_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long labels, captions and titles, as the renderer measures them."""
    kept: list[Figure] = []
    draw = image_grid.render_figure
    monkeypatch.setattr(image_grid, "rendered", lambda figure: kept.append(figure) or draw(figure))
    long = "a class with a long, long name of $x$ and <b> W" * 3
    rows = [
        [
            GridCell(HEAT, long, "heat"),
            GridCell(None),
            GridCell(HEAT - 4, f"12.3\n{long}", "signed"),
        ]
    ] * 3
    draw_image_grid(rows, long * 2, row_labels=[long] * 3, column_labels=[long] * 3, note=long * 4)
    (figure,) = kept
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts if text.get_text()]
    page = figure.bbox
    assert len(boxes) > 20
    for i, one in enumerate(boxes):
        assert one.x0 >= page.x0 and one.x1 <= page.x1 and one.y0 >= page.y0 and one.y1 <= page.y1
        for other in boxes[i + 1 :]:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            down = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert across <= 1 or down <= 1


def test_signs_are_told_by_colour_and_a_map_of_nothing_is_blank() -> None:
    def middle(cell: GridCell) -> list[int]:
        image = draw_image_grid([[cell]], "t", cell_inches=2)
        found = image[30:-30].reshape(-1, 3)
        return [int(v) for v in found[np.ptp(found.astype(int), axis=1).argmax()]]

    red, _, blue = middle(GridCell(np.full((2, 2), 3.0), kind="signed"))
    assert red > blue + 50
    red, _, blue = middle(GridCell(np.full((2, 2), -3.0), kind="signed"))
    assert blue > red + 50
    blank = draw_image_grid([[GridCell(np.zeros((2, 2)), kind="heat")]], "t")
    assert (blank == 235).all(-1).sum() > 1000
    grey = draw_image_grid([[GridCell(np.full((2, 2, 1), 100, np.uint8))]], "t")
    colour = draw_image_grid(
        [[GridCell(np.full((2, 3, 3), (10, 200, 30), np.uint8), frame_color="#D55E00")]], "t"
    )
    assert (grey == 100).all(-1).sum() > 1000 and (colour == (10, 200, 30)).all(-1).sum() > 1000


def test_what_does_not_fit_is_cut_and_shown_to_be() -> None:
    assert wrap_caption("one two three four", 5, 3) == ["one", "two", "three four"[:4] + "…"]
    assert wrap_caption("a\nb", 9, 3) == ["a", "b"] and wrap_caption("", 9, 3) == []
