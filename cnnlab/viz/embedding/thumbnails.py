"""Pictures as a map's points: (H, W, 3) uint8, strewn over it at their places or one to each cell of a lattice."""

import numpy as np
from PIL import Image

from cnnlab.viz.base import GRAY, render_figure
from cnnlab.viz.embedding.layout import PIXEL_FIGURE_MARGIN, make_pixel_figure, wrap_to_width
from cnnlab.viz.image_grid import write_text_lines

GRID_SHEET_PX = 1600  # pixels that a lattice's longer side comes to, roughly


def choose_thumbnail_side(longest: int, wanted: float) -> int:
    """Pixels that a picture's longer side of so many is drawn with: a whole multiple near those wanted, or these."""
    return longest * round(wanted / longest) if longest < 1.25 * wanted else max(1, round(wanted))


def make_thumbnail(picture: np.ndarray, side: int) -> np.ndarray:
    """(H, W, C) uint8 -> (h, w, 3), the longer of h and w `side`, each pixel repeated where they fit it."""
    high, wide = picture.shape[:2]
    rgb = np.broadcast_to(picture, (high, wide, 3))
    factor, rest = divmod(side, max(high, wide))
    if factor and not rest:
        return rgb.repeat(factor, 0).repeat(factor, 1)
    size = [max(1, round(n * side / max(high, wide))) for n in (wide, high)]
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.LANCZOS)
    )


def paste_image(canvas: np.ndarray, image: np.ndarray, left: int, top: int) -> None:
    """An image into a larger one, in place."""
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image


def render_snapped_thumbnails(
    places: np.ndarray, pictures: np.ndarray, width: int, height: int, side: int
) -> tuple[np.ndarray, int]:
    """(N, 2) pixels and (N, H, W, C) uint8 -> (height, width, 3), white, and on it pictures on a lattice, of those
    whose places are in a cell the one nearest to its middle; and how many."""
    h, w = (n + 1 for n in make_thumbnail(pictures[0], side).shape[:2])
    pitch = np.array([w, h])
    room = np.array([width, height]) // pitch
    edge = (np.array([width, height]) - room * pitch) // 2
    cells = ((places - edge) // pitch).astype(int).clip(0, room - 1)
    off = np.abs((places - edge) / pitch - cells - 0.5).max(1)
    best = off.argsort(kind="stable")
    canvas = np.full((height, width, 3), 255, np.uint8)
    chosen = best[np.unique(cells[best], axis=0, return_index=True)[1]]
    for i in chosen.tolist():
        left, top = (edge + cells[i] * pitch).tolist()
        paste_image(canvas, make_thumbnail(pictures[i], side), left, top)
    return canvas, len(chosen)


def draw_embedding_grid(
    cells: np.ndarray, pictures: np.ndarray, title: str, note: str = ""
) -> np.ndarray:
    """(N, 2) column and row of each, rows counted upwards, and (N, H, W, C) uint8 -> (H', W', 3), a picture a cell.
    Raises ValueError where two are in one."""
    if len(np.unique(cells, axis=0)) < len(cells):
        raise ValueError("two pictures in one cell")
    columns, rows = (cells.max(0) + 1).tolist()
    longest = max(pictures.shape[1:3])
    pitch = choose_thumbnail_side(longest + 1, GRID_SHEET_PX / max(columns, rows))
    gap = max(int(pitch >= 16), pitch // (longest + 1))  # as wide as a picture's pixels are drawn
    side = max(1, pitch - gap)
    h, w = make_thumbnail(pictures[0], side).shape[:2]
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for (column, row), picture in zip(cells.tolist(), pictures, strict=True):
        paste_image(
            sheet, make_thumbnail(picture, side), column * (w + gap), (rows - 1 - row) * (h + gap)
        )
    width = max(640, sheet.shape[1] + 2 * PIXEL_FIGURE_MARGIN)
    heads, feet = (
        wrap_to_width(title, width - 2 * PIXEL_FIGURE_MARGIN, 18),
        wrap_to_width(note, width - 2 * PIXEL_FIGURE_MARGIN, 13),
    )
    top = 28 + 34 * len(heads)
    foot = top + sheet.shape[0] + 14
    figure, axes = make_pixel_figure(width, foot + 25 * len(feet) + 12)
    write_text_lines(axes, width / 2, 18, heads, 18, line_height=34)
    write_text_lines(
        axes, PIXEL_FIGURE_MARGIN, foot, feet, 13, align="left", line_height=25, color=GRAY
    )
    image = render_figure(figure)
    paste_image(image, sheet, (width - sheet.shape[1]) // 2, top)
    return image
