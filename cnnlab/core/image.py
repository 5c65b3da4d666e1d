"""Pictures in and out of files, and many pictures on one sheet."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import write_atomically
from cnnlab.core.quoting import printable

MAX_PIXELS = 100_000_000  # a picture of more is refused before it is decoded
# What is tried, whatever a file's name says. Others of Pillow's formats are programs for an interpreter, or decoded
# before their size can be asked (ICO).
READABLE_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS, or what a caller says, is the limit here


class TooManyPixels(CnnlabError):
    """A picture has more than may be decoded."""


@cache
def list_available_formats() -> tuple[str, ...]:
    """Those of FORMATS that the Pillow here was built with."""
    Image.init()
    return tuple(name for name in READABLE_FORMATS if name in Image.OPEN)


def read_image(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, target_side: int | None = None
) -> Image.Image:
    """A picture file, turned as its EXIF says, as RGB or, where it is grey, L. Transparency is laid on white, and of
    several frames the first is taken. `side`: pixels that its shorter side will be made, so that a large
    JPEG need not be decoded at full size. Raises CnnlabError for what is missing, not a picture, damaged, or has more
    than `max_pixels`."""
    with translate_read_errors(path):
        with open(path, "rb") as file:  # noqa: PTH123  (a third faster in one go, and Path is slow)
            image = open_image(file.read(), path, max_pixels)
        if target_side is not None and min(image.size) >= 4 * target_side:
            image.draft(None, (2 * target_side, 2 * target_side))
        image.load()
        return convert_to_gray_or_rgb(
            image if 274 not in image.getexif() else ImageOps.exif_transpose(image)
        )


def open_image(blob: bytes, path: str | Path, max_pixels: int) -> ImageFile.ImageFile:
    """A picture file's contents, nothing of it decoded yet. Raises TooManyPixels, and whatever Pillow does."""
    image = Image.open(io.BytesIO(blob), formats=list_available_formats())
    if math.prod(image.size) > max_pixels:
        raise TooManyPixels(
            f"{printable_path(path)} has {math.prod(image.size):,} pixels; the limit is {max_pixels:,}"
        )
    return image


@contextmanager
def translate_read_errors(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong while a picture is read, as a CnnlabError that names its file."""
    try:
        yield
    except CnnlabError:
        raise
    except FileNotFoundError:
        raise CnnlabError(f"no picture {printable_path(path)}") from None
    except UnidentifiedImageError:
        raise CnnlabError(f"{printable_path(path)} is not a picture that can be read") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise CnnlabError(
            f"{printable_path(path)} cannot be read: {printable(str(error))}"
        ) from error


def printable_path(path: str | Path) -> str:
    return printable(str(path))


def resize_center_crop(image: Image.Image, size: int) -> Image.Image:
    """A picture whose short side is made `size` pixels long, bilinear with antialiasing, and its centre cut out: what
    torchvision's Resize(size) and CenterCrop(size) do."""
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
    """Any mode -> L or RGB. Greys of 16 bits are scaled from 65535, floats from 1 where none is above it; transparency
    is laid over white."""
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        most = values.max()
        top = (
            65535
            if image.mode.startswith("I;16") or most > 255
            else 1
            if image.mode == "F" and most <= 1
            else 255
        )
        return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB")


def encode_png(image: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) uint8 -> a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def save_png(path: Path, image: np.ndarray) -> None:
    """(H, W) or (H, W, 3) uint8 to a file, whole."""
    blob = encode_png(image)
    write_atomically(path, lambda part: part.write_bytes(blob))


def make_image_grid(
    images: np.ndarray, columns: int, *, gap: int = 1, background: int = 128, zoom: int = 1
) -> np.ndarray:
    """(N, H, W, C) uint8 -> one (rows, columns) sheet of them, each pixel `zoom` wide; grey where C is 1."""
    n, _, _, channels = images.shape
    images = images.repeat(zoom, 1).repeat(zoom, 2)
    height, width = images.shape[1:3]
    rows = math.ceil(n / columns)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), background, np.uint8
    )
    for i, picture in enumerate(images):
        y, x = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return sheet[..., 0] if channels == 1 else sheet
