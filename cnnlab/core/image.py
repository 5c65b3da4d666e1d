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
# The formats that are tried, whatever a file's name is. Pillow's others are programs for an
# interpreter, or decoded before their size is known (ICO).
READABLE_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
Image.MAX_IMAGE_PIXELS = None  # the limit is MAX_PIXELS, or the caller's


class TooManyPixels(CnnlabError):
    """An image has more pixels than the limit."""


@cache
def list_available_formats() -> tuple[str, ...]:
    """Return the READABLE_FORMATS that the installed Pillow supports."""
    Image.init()
    return tuple(name for name in READABLE_FORMATS if name in Image.OPEN)


def read_image(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, target_side: int | None = None
) -> Image.Image:
    """Return an image file as RGB, or L if it is gray, with its EXIF orientation applied, on white
    and, of several frames, the first.

    `target_side`: pixels to which the shorter side will be resized, so that a large JPEG need not
    be decoded at full size. Raises CnnlabError for a file that is missing, not an image, damaged,
    or has more than `max_pixels`."""
    with translate_read_errors(path):
        with open(path, "rb") as file:  # noqa: PTH123  (a third faster in one go, and Path is slow)
            image = open_image(file.read(), path, max_pixels)
        if target_side is not None and min(image.size) >= 4 * target_side:
            image.draft(None, (2 * target_side, 2 * target_side))
        image.load()
        has_orientation = ExifTags.Base.Orientation in image.getexif()
        return convert_to_gray_or_rgb(ImageOps.exif_transpose(image) if has_orientation else image)


def open_image(blob: bytes, path: str | Path, max_pixels: int) -> ImageFile.ImageFile:
    """Open an image file's bytes without decoding them. Raises TooManyPixels and Pillow's
    errors."""
    image = Image.open(io.BytesIO(blob), formats=list_available_formats())
    if math.prod(image.size) > max_pixels:
        pixels = f"{math.prod(image.size):,} pixels"
        raise TooManyPixels(f"{printable_path(path)} has {pixels}; the limit is {max_pixels:,}")
    return image


@contextmanager
def translate_read_errors(path: str | Path) -> Iterator[None]:
    """Raise any error of reading an image as a CnnlabError that names its file."""
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
    """Return an image with its short side resized to `size` pixels, bilinear with antialiasing, and
    cropped at its center, as torchvision's Resize(size) and CenterCrop(size) do."""
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
    """Convert any mode to L or RGB. 16-bit grays are scaled from 65535, floats from 1 if none is
    larger; transparency is composited on white."""
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        white = find_white(image.mode, values.max())
        return Image.fromarray((values.clip(0, white) * (255 / white)).round().astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image).convert("RGB")
    return image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB")


def find_white(mode: str, maximum: float) -> int:
    """Return the value that stands for white in a mode of integers or floats."""
    if mode.startswith("I;16") or maximum > 255:
        return 65535
    return 1 if mode == "F" and maximum <= 1 else 255


def encode_png(image: np.ndarray) -> bytes:
    """Return (H, W) or (H, W, 3) uint8 as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def save_png(path: Path, image: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) uint8 to a PNG file. Raises WriteFailed."""
    blob = encode_png(image)
    write_atomically(path, lambda part: part.write_bytes(blob))


def make_image_grid(
    images: np.ndarray, columns: int, *, gap: int = 1, background: int = 128, zoom: int = 1
) -> np.ndarray:
    """Arrange (N, H, W, C) uint8 images in rows of `columns`, each pixel `zoom` wide. Returns
    (H, W, 3), or (H, W) if C is 1."""
    n, _, _, channels = images.shape
    images = images.repeat(zoom, 1).repeat(zoom, 2)
    height, width = images.shape[1:3]
    rows = math.ceil(n / columns)
    grid = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), background, np.uint8
    )
    for i, image in enumerate(images):
        y, x = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        grid[y : y + height, x : x + width] = image
    return grid[..., 0] if channels == 1 else grid
