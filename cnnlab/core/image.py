"""Pictures in and out of files, and many pictures on one sheet."""

import io
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import write_whole

MAX_PIXELS = 100_000_000  # a picture of more is refused before it is decoded


def read_picture(path: Path) -> Image.Image:
    """A picture file, turned as its EXIF says, as RGB or, where it is grey, L. Transparency is laid on white.
    Raises CnnlabError for what is missing, not a picture, damaged, or larger than 100 megapixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
            if math.prod(image.size) > MAX_PIXELS:
                raise CnnlabError(f"{path} has {math.prod(image.size):,} pixels; the limit is {MAX_PIXELS:,}")
            image.load()
    except FileNotFoundError:
        raise CnnlabError(f"no picture {path}") from None
    except UnidentifiedImageError:
        raise CnnlabError(f"{path} is not a picture that can be read") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CnnlabError(f"{path} cannot be read: {error}") from error
    return flatten(ImageOps.exif_transpose(image))


def flatten(image: Image.Image) -> Image.Image:
    """Any mode -> L or RGB, 16-bit greys scaled, transparency over white."""
    if image.mode.startswith(("I;16", "I", "F")):
        values = np.asarray(image, dtype=np.float64)
        top = 65535 if values.max() > 255 else 255
        return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB")


def png_bytes(image: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) uint8 -> a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def save_png(path: Path, image: np.ndarray) -> None:
    """(H, W) or (H, W, 3) uint8 to a file, whole."""
    blob = png_bytes(image)
    write_whole(path, lambda part: part.write_bytes(blob))


def tile(pictures: np.ndarray, columns: int, *, gap: int = 1, background: int = 128, zoom: int = 1) -> np.ndarray:
    """(N, H, W, C) uint8 -> one (rows, columns) sheet of them, each pixel `zoom` wide; grey where C is 1."""
    n, _, _, channels = pictures.shape
    pictures = pictures.repeat(zoom, 1).repeat(zoom, 2)
    height, width = pictures.shape[1:3]
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), background, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return sheet[..., 0] if channels == 1 else sheet
