"""Draw a map with thumbnails: at their positions, or one in each cell of a grid."""

import numpy as np
from PIL import Image

from cnnlab.viz.base import GRAY, render_figure
from cnnlab.viz.embedding.layout import PIXEL_FIGURE_MARGIN, make_pixel_figure, wrap_to_width
from cnnlab.viz.image_grid import write_text_lines

GRID_SHEET_PX = 1600  # longer side of the grid, approximately


def choose_thumbnail_side(longest: int, target_side: float) -> int:
    """Return a thumbnail's longer side: a multiple of the image's near `target_side`, or that."""
    if longest < 1.25 * target_side:
        return longest * round(target_side / longest)
    return max(1, round(target_side))


def make_thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    """Return (h, w, 3) uint8 of (H, W, C), the longer of h and w being `side`.

    Pixels are repeated where `side` is a multiple of the image's side, and else resampled.
    """
    height, width = image.shape[:2]
    rgb = np.broadcast_to(image, (height, width, 3))
    factor, remainder = divmod(side, max(height, width))
    if factor and not remainder:
        return rgb.repeat(factor, 0).repeat(factor, 1)
    size = [max(1, round(n * side / max(height, width))) for n in (width, height)]
    pillow_image = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(pillow_image.resize(size, Image.Resampling.LANCZOS))


def paste_image(canvas: np.ndarray, image: np.ndarray, left: int, top: int) -> None:
    """Paste an image into a larger one, in place."""
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image


def render_snapped_thumbnails(
    points: np.ndarray, images: np.ndarray, width: int, height: int, side: int
) -> tuple[np.ndarray, int]:
    """Return (height, width, 3) uint8, white, with thumbnails on a grid, and their number.

    Each cell shows the image nearest to its center. `points`: (N, 2) pixels; `images`:
    (N, H, W, C) uint8.
    """
    h, w = (n + 1 for n in make_thumbnail(images[0], side).shape[:2])
    pitch = np.array([w, h])
    size = np.array([width, height]) // pitch
    origin = (np.array([width, height]) - size * pitch) // 2
    cells = ((points - origin) // pitch).astype(int).clip(0, size - 1)
    distance = np.abs((points - origin) / pitch - cells - 0.5).max(1)
    nearest_first = distance.argsort(kind="stable")
    canvas = np.full((height, width, 3), 255, np.uint8)
    first_of_cell = np.unique(cells[nearest_first], axis=0, return_index=True)[1]
    shown = nearest_first[first_of_cell]
    for i in shown.tolist():
        left, top = (origin + cells[i] * pitch).tolist()
        paste_image(canvas, make_thumbnail(images[i], side), left, top)
    return canvas, len(shown)


def draw_embedding_grid(
    cells: np.ndarray, images: np.ndarray, title: str, note: str = ""
) -> np.ndarray:
    """Return (H', W', 3) uint8 with an image in each cell.

    `cells`: (N, 2) column and row, rows counted upward; `images`: (N, H, W, C) uint8. Raises
    ValueError where two images are in one cell.
    """
    if len(np.unique(cells, axis=0)) < len(cells):
        raise ValueError("two images in one cell")
    sheet = render_grid_sheet(cells, images)
    width = max(640, sheet.shape[1] + 2 * PIXEL_FIGURE_MARGIN)
    text_width = width - 2 * PIXEL_FIGURE_MARGIN
    title_lines, note_lines = (
        wrap_to_width(title, text_width, 18),
        wrap_to_width(note, text_width, 13),
    )
    top = 28 + 34 * len(title_lines)
    bottom = top + sheet.shape[0] + 14
    figure, axes = make_pixel_figure(width, bottom + 25 * len(note_lines) + 12)
    write_text_lines(axes, width / 2, 18, title_lines, 18, line_height=34)
    write_text_lines(
        axes, PIXEL_FIGURE_MARGIN, bottom, note_lines, 13, align="left", line_height=25, color=GRAY
    )
    image = render_figure(figure)
    paste_image(image, sheet, (width - sheet.shape[1]) // 2, top)
    return image


def render_grid_sheet(cells: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return (H', W', 3) uint8 with the thumbnails of a grid."""
    columns, rows = (cells.max(0) + 1).tolist()
    longest = max(images.shape[1:3])
    pitch = choose_thumbnail_side(longest + 1, GRID_SHEET_PX / max(columns, rows))
    gap = max(int(pitch >= 16), pitch // (longest + 1))  # as wide as an enlarged pixel
    side = max(1, pitch - gap)
    h, w = make_thumbnail(images[0], side).shape[:2]
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for (column, row), image in zip(cells.tolist(), images, strict=True):
        left, top = column * (w + gap), (rows - 1 - row) * (h + gap)
        paste_image(sheet, make_thumbnail(image, side), left, top)
    return sheet
