"""Many small pictures on few large sheets, for a page or for TensorBoard's projector."""

import math

import numpy as np
from PIL import Image

from cnnlab.core.image import make_image_grid


def make_sprite_sheets(
    pictures: np.ndarray, thumbnail_side: int, sheet_side: int
) -> list[np.ndarray]:
    """(N, H, W, C) uint8, C 1 or 3 -> sheets of at most (side, side), without the last axis where C is 1: the pictures
    as squares in rows, neither side above `tile` and none enlarged. Every sheet but the last is full, and all are as
    wide as the first. Raises ValueError where not even one square fits a sheet."""
    squares = pad_to_squares(pictures, thumbnail_side)
    columns = sheet_side // squares.shape[1]
    if columns == 0:
        raise ValueError(f"no square of {squares.shape[1]} pixels fits a sheet of {sheet_side}")
    each = columns * columns
    return [
        make_image_grid(squares[at : at + each], min(columns, len(squares)), gap=0, background=255)
        for at in range(0, len(squares), each)
    ]


def make_projector_sprite(pictures: np.ndarray, sheet_side: int = 4096) -> tuple[np.ndarray, int]:
    """All the pictures in rows of ceil(sqrt(N)) on the one sheet that TensorBoard's projector reads, of at most
    (side, side), and how wide each is there."""
    columns = math.ceil(math.sqrt(len(pictures)))
    squares = pad_to_squares(pictures, sheet_side // columns)
    return make_image_grid(squares, columns, gap=0, background=255), squares.shape[1]


def pad_to_squares(pictures: np.ndarray, tile: int) -> np.ndarray:
    """(N, H, W, C) uint8 -> (N, S, S, C), S the longer side but at most `tile`; shrunk with antialiasing, and white
    beside what is not square."""
    n, height, width, channels = pictures.shape
    longest = max(height, width)
    square = min(longest, tile)
    high, wide = (max(1, round(length * square / longest)) for length in (height, width))
    top, left = (square - high) // 2, (square - wide) // 2
    squares = np.full((n, square, square, channels), 255, np.uint8)
    squares[:, top : top + high, left : left + wide] = (
        pictures
        if square == longest
        else [downscale_image(picture, high, wide) for picture in pictures]
    )
    return squares


def downscale_image(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) uint8 -> (height, width, C)."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).reshape(
        height, width, -1
    )
