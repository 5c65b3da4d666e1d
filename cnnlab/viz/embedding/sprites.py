"""Sprite sheets of thumbnails, for a page or for TensorBoard's projector."""

import math
from functools import partial

import numpy as np
from PIL import Image

from cnnlab.core.image import make_image_grid

make_sheet = partial(make_image_grid, gap=0, background=255)  # thumbnails side by side on white


def make_sprite_sheets(
    images: np.ndarray, thumbnail_side: int, sheet_side: int
) -> list[np.ndarray]:
    """Return sheets, at most `sheet_side` a side, of (N, H, W, C) uint8 images, C 1 or 3.

    Images are padded to squares of at most `thumbnail_side`, in rows; none is enlarged. Every
    sheet but the last is full, all have one width, and their last axis is dropped where C is 1.
    Raises ValueError where no square fits on a sheet.
    """
    squares = pad_to_squares(images, thumbnail_side)
    columns = sheet_side // squares.shape[1]
    if columns == 0:
        raise ValueError(
            f"a thumbnail of {squares.shape[1]} pixels does not fit on a sheet of {sheet_side}"
        )
    per_sheet = columns * columns
    return [
        make_sheet(squares[start : start + per_sheet], min(columns, len(squares)))
        for start in range(0, len(squares), per_sheet)
    ]


def make_projector_sprite(images: np.ndarray, sheet_side: int = 4096) -> tuple[np.ndarray, int]:
    """Return the one sheet that TensorBoard's projector reads, and the side of a thumbnail on it.

    The images are in rows of ceil(sqrt(N)).
    """
    columns = math.ceil(math.sqrt(len(images)))
    squares = pad_to_squares(images, sheet_side // columns)
    return make_sheet(squares, columns), squares.shape[1]


def pad_to_squares(images: np.ndarray, max_side: int) -> np.ndarray:
    """Return (N, S, S, C) uint8 of (N, H, W, C): S is the longer side, but at most `max_side`.

    Larger images are shrunk with antialiasing; the padding is white.
    """
    n, height, width, channels = images.shape
    longest = max(height, width)
    side = min(longest, max_side)
    new_height, new_width = (max(1, round(length * side / longest)) for length in (height, width))
    top, left = (side - new_height) // 2, (side - new_width) // 2
    squares = np.full((n, side, side, channels), 255, np.uint8)
    squares[:, top : top + new_height, left : left + new_width] = (
        images
        if side == longest
        else [downscale_image(image, new_height, new_width) for image in images]
    )
    return squares


def downscale_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return (height, width, C) uint8 of (H, W, C), by Lanczos resampling."""
    pillow_image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = pillow_image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized).reshape(height, width, -1)
