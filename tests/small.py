"""Small pictures written for a test, and what is seen in them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnnlab.core.photo import read_photo


def kept(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def written(path: Path, blob: bytes) -> Path:
    path.write_bytes(blob)
    return path


def row(*colours: Any, mode: str = "RGB") -> Image.Image:
    """A picture of one row."""
    image = Image.new(mode, (len(colours), 1))
    for x, colour in enumerate(colours):
        image.putpixel((x, 0), colour)
    return image


def seen(path: Path) -> tuple[list[Any], list[Any] | None]:
    """The colours of a picture's first row, and its alpha's; nothing is to be said of it."""
    photo = read_photo(path)
    assert photo.notes == () and photo.rgb.mode == "RGB"
    return np.asarray(photo.rgb)[0].tolist(), photo.alpha and np.asarray(photo.alpha)[0].tolist()
