"""Decode image files of limited size, upright, in 8-bit samples.

`core.image.read_image` and `core.photo.read_photo` read through this module; they differ in what
they make of transparency and color profiles.
"""

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import PIL
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from cnnlab.core.errors import CnnlabError, summarize_error
from cnnlab.core.image_formats import describe_unreadable, list_readable_formats
from cnnlab.core.quoting import printable
from cnnlab.core.sample_depth import find_sample_range, scale_to_8_bits, scale_transparent_color

MAX_PIXELS = 100_000_000  # a larger image is refused before it is decoded
MAX_FILE_BYTES = 2_000_000_000
MAX_ASPECT_RATIO = 1000
READER_VERSION = 1  # raised by a change of which files are read
TIFF_TILE_WIDTH, TIFF_TILE_LENGTH = 322, 323  # tags
EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
QUARTER_TURNS = tuple(EXIF_TRANSPOSES[orientation] for orientation in (5, 6, 7, 8))
Image.MAX_IMAGE_PIXELS = None  # the limit is MAX_PIXELS, or the caller's
# Pillow warns and logs about damage that it tolerates, without the file's name. Filtered once for
# all threads: `warnings.catch_warnings` is not safe in the threads that decode.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class TooManyPixels(CnnlabError):
    """An image has more pixels than may be decoded."""


def load_image(
    blob: bytes,
    path: str | Path,
    max_pixels: int,
    notes: list[str],
    *,
    target_side: int | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """Return an image file's first image, upright, in a mode of Pillow with 8-bit samples or 1; and
    the upright (width, height) that the file has, of which a JPEG may be decoded smaller.

    `notes` gets a line on what was ignored. `target_side`: pixels that the shorter side will be
    resized to, so that a large JPEG is not decoded at full size. Raises CnnlabError, and Pillow's
    errors for a damaged file."""
    image = open_image(blob, path, max_pixels)
    size, reduced = image.size, None
    if target_side is not None and min(size) >= 4 * target_side:
        reduced = image.draft(None, (2 * target_side, 2 * target_side))
    black, white = find_sample_range(image)
    scale_transparent_color(image)
    image.load()
    if reduced is None:
        size = image.size  # Pillow turns TIFFs upright itself
    transpose = read_exif_transpose(image, notes)
    eight_bit = scale_to_8_bits(image, black, white)
    if transpose is None:
        return eight_bit, size
    return eight_bit.transpose(transpose), size[::-1] if transpose in QUARTER_TURNS else size


def identify_reader() -> tuple[object, ...]:
    """Return what decides which files are read, besides the files and `max_pixels`."""
    return READER_VERSION, PIL.__version__, list_readable_formats()


def open_image(blob: bytes, path: str | Path, max_pixels: int) -> ImageFile.ImageFile:
    """Return an image file's header, no pixel decoded yet. Raises CnnlabError for a file that is
    not an image or exceeds a limit, and Pillow's errors."""
    try:
        image = Image.open(io.BytesIO(blob), formats=list_readable_formats())
    except UnidentifiedImageError:
        raise CnnlabError(f"{printable_path(path)} {describe_unreadable(blob[:16])}") from None
    check_size(image, path, max_pixels)
    return image


def check_size(image: ImageFile.ImageFile, path: str | Path, max_pixels: int) -> None:
    """Raise TooManyPixels, or CnnlabError for an image that is too thin to be resized."""
    width, height = image.size
    pixels = width * height
    if image.format == "TIFF":
        pixels = max(pixels, count_tile_pixels(image))
    if pixels > max_pixels:
        raise TooManyPixels(
            f"{printable_path(path)} has {pixels:,} pixels; the limit is {max_pixels:,}"
        )
    if width > MAX_ASPECT_RATIO * height or height > MAX_ASPECT_RATIO * width:
        ratio = max(image.size) / max(min(image.size), 1)
        raise CnnlabError(
            f"{printable_path(path)} is {ratio:,.0f} times as long as wide; "
            f"the limit is {MAX_ASPECT_RATIO:,}"
        )


def count_tile_pixels(image: ImageFile.ImageFile) -> int:
    """Return the pixels of a TIFF's tile, 0 without tiles. A tile may be larger than the image, and
    is decoded whole."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    tile = tags.get(TIFF_TILE_WIDTH), tags.get(TIFF_TILE_LENGTH)
    return math.prod(side if isinstance(side, int) else 0 for side in tile)


def read_exif_transpose(image: Image.Image, notes: list[str]) -> Image.Transpose | None:
    """Return what turns a loaded image upright. Pillow's exif_transpose also rewrites the EXIF, and
    raises if an unrelated tag is damaged."""
    try:
        return EXIF_TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF can make Pillow raise anything
        notes.append("its EXIF cannot be read; its orientation is ignored")
        return None


@contextmanager
def translate_read_errors(path: str | Path) -> Iterator[None]:
    """Turn any error while an image is read into a CnnlabError that names the file."""
    try:
        yield
    except CnnlabError:
        raise
    except FileNotFoundError:
        raise CnnlabError(f"no file {printable_path(path)}") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = printable(summarize_error(error))
        raise CnnlabError(f"{printable_path(path)} cannot be read: {reason}") from error


def printable_path(path: str | Path) -> str:
    return printable(str(path))
