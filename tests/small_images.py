"""Small image files written for a test, and their pixels as cnnlab reads them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnnlab.core.photo import read_photo


def count_colors(image: Image.Image) -> int:
    """Return how many colors an image has."""
    return len(image.convert("RGB").getcolors(image.width * image.height) or ())


def save_image(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def write_file(path: Path, blob: bytes) -> Path:
    path.write_bytes(blob)
    return path


def make_row(*colors: Any, mode: str = "RGB") -> Image.Image:
    """Return an image of one row."""
    image = Image.new(mode, (len(colors), 1))
    for x, color in enumerate(colors):
        image.putpixel((x, 0), color)
    return image


def read_row(path: Path) -> tuple[list[Any], list[Any] | None]:
    """Return the colors and the alpha of the first row of an image that is read without notes."""
    photo = read_photo(path)
    assert photo.notes == () and photo.rgb.mode == "RGB"
    return np.asarray(photo.rgb)[0].tolist(), photo.alpha and np.asarray(photo.alpha)[0].tolist()
