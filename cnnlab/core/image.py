"""Read and write image files, and arrange images in a grid."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import write_atomically
from cnnlab.core.quoting import printable

MAX_PIXELS = 100_000_000  # a larger image is refused before it is decoded
# Formats tried, whatever the file's extension. Pillow's others run an interpreter, or are decoded
# before their size is known (ICO).
READABLE_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
Image.MAX_IMAGE_PIXELS = None  # the limit is MAX_PIXELS, or the caller's


class TooManyPixels(CnnlabError):
    """An image has more pixels than may be decoded."""


@cache
def list_available_formats() -> tuple[str, ...]:
    """Return the READABLE_FORMATS that the installed Pillow supports."""
    Image.init()
    return tuple(name for name in READABLE_FORMATS if name in Image.OPEN)


def read_image(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, target_side: int | None = None
) -> Image.Image:
    """Read an image file as RGB or, where it is gray, L.

    The EXIF orientation is applied, transparency is composited on white, and the first of several
    frames is taken. `target_side`: pixels that the shorter side will be resized to, so that a large
    JPEG is not decoded at full size. Raises CnnlabError for a file that is missing, not an image,
    damaged, or larger than `max_pixels`."""
    with translate_read_errors(path):
        with open(path, "rb") as file:  # noqa: PTH123  (a third faster in one go, and Path is slow)
            image = open_image(file.read(), path, max_pixels)
        if target_side is not None and min(image.size) >= 4 * target_side:
            image.draft(None, (2 * target_side, 2 * target_side))
        image.load()
        has_orientation = ExifTags.Base.Orientation in image.getexif()
        return convert_to_gray_or_rgb(ImageOps.exif_transpose(image) if has_orientation else image)


def open_image(blob: bytes, path: str | Path, max_pixels: int) -> ImageFile.ImageFile:
    """Return an image file's header, no pixel decoded yet. Raises TooManyPixels, and Pillow's
    errors."""
    image = Image.open(io.BytesIO(blob), formats=list_available_formats())
    if math.prod(image.size) > max_pixels:
        raise TooManyPixels(
            f"{printable_path(path)} has {math.prod(image.size):,} pixels; the limit is "
            f"{max_pixels:,}"
        )
    return image


@contextmanager
def translate_read_errors(path: str | Path) -> Iterator[None]:
    """Turn any error while an image is read into a CnnlabError that names the file."""
    try:
        yield
    except CnnlabError:
        raise
    except FileNotFoundError:
        raise CnnlabError(f"no image {printable_path(path)}") from None
    except UnidentifiedImageError:
        raise CnnlabError(f"{printable_path(path)} is not an image that can be read") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise CnnlabError(
            f"{printable_path(path)} cannot be read: {printable(str(error))}"
        ) from error


def printable_path(path: str | Path) -> str:
    return printable(str(path))


def resize_center_crop(image: Image.Image, size: int) -> Image.Image:
    """Return an image resized so that its short side is `size` pixels, bilinear with antialiasing,
    and center-cropped: torchvision's Resize(size) and CenterCrop(size)."""
    width, height = image.size
    if min(width, height) != size:
        short = min(width, height)
        width, height = (max(size, int(size * side / short)) for side in (width, height))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if width == height:
        return image
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def convert_to_gray_or_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to L or RGB. Gray values of 16 bits are scaled from 65535, floats from 1
    where none is larger; transparency is composited on white."""
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        white = find_white_level(image.mode, float(values.max()))
        return Image.fromarray((values.clip(0, white) * (255 / white)).round().astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image).convert("RGB")
    return image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB")


def find_white_level(mode: str, largest: float) -> int:
    """Return the value that means white in a Pillow mode I, I;16 or F, given the largest value
    there is."""
    if mode.startswith("I;16") or largest > 255:
        return 65535
    return 1 if mode == "F" and largest <= 1 else 255


def encode_png(image: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def save_png(path: Path, image: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) uint8 to a PNG file atomically."""
    blob = encode_png(image)
    write_atomically(path, lambda part: part.write_bytes(blob))


def make_image_grid(
    images: np.ndarray, columns: int, *, gap: int = 1, background: int = 128, zoom: int = 1
) -> np.ndarray:
    """Lay (N, H, W, C) uint8 images out in rows of `columns`, each pixel `zoom` wide and `gap`
    pixels of `background` around each image; return (H', W', C) uint8, without the last axis where
    C is 1."""
    n, height, width, channels = images.shape
    height, width, rows = height * zoom, width * zoom, math.ceil(n / columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), background, np.uint8)
    cells[:n, :height, :width] = images if zoom == 1 else images.repeat(zoom, 1).repeat(zoom, 2)
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), background, np.uint8
    )
    sheet[gap:, gap:] = cells.reshape(rows * (height + gap), columns * (width + gap), channels)
    return sheet[..., 0] if channels == 1 else sheet
