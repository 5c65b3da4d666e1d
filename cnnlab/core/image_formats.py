"""The formats of stylized images, and how each stores a record of how the image was made."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sys import maxsize
from typing import Any

from PIL import Image, PngImagePlugin

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable

PNG_TEXT_KEY = "cnnlab"  # key of the PNG text with the record
# Tags of TIFF; the first is also EXIF's, which holds the record in the other formats.
DESCRIPTION_TAG, PREDICTOR_TAG = 270, 317


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """How a format is written: Pillow's name for it, its metadata, and Pillow's options.

    `seconds_per_megapixel`: at most, on a slow core; `max_side`: in pixels; `max_styles`: style
    images whose hashes the metadata can hold.
    """

    name: str
    encode_metadata: Callable[[str], dict[str, Any]]
    options: dict[str, Any]
    seconds_per_megapixel: float
    has_alpha: bool = True
    max_side: int = maxsize
    max_styles: int = maxsize

    def check_fits(self, suffix: str, size: tuple[int, int], num_styles: int) -> None:
        """Raise UsageError where a file of this format cannot hold an image or its record."""
        if max(size) > self.max_side:
            raise UsageError(
                f"a {suffix} file can have {self.max_side:,} pixels per side, not {max(size):,}"
            )
        if num_styles > self.max_styles:
            raise UsageError(
                f"a {suffix} file can record {self.max_styles} style images, not {num_styles}"
            )


def encode_png_text(record: str) -> dict[str, Any]:
    """Return Pillow's option that stores a record in a PNG."""
    text = PngImagePlugin.PngInfo()
    text.add_text(PNG_TEXT_KEY, record)
    return {"pnginfo": text}


def encode_exif(record: str) -> dict[str, Any]:
    """Return Pillow's option that stores a record in the EXIF of a JPEG or WebP."""
    exif = Image.Exif()
    exif[DESCRIPTION_TAG] = record
    return {"exif": exif}


def encode_tiff_tag(record: str) -> dict[str, Any]:
    """Return Pillow's option that stores a record in a TIFF; a predictor makes the file smaller."""
    return {"tiffinfo": {DESCRIPTION_TAG: record, PREDICTOR_TAG: 2}}


# For stylized images level 4 is as small as Pillow's default of 6, and 2.5 times as fast.
PNG = ImageFormat(
    name="PNG",
    encode_metadata=encode_png_text,
    options={"compress_level": 4},
    seconds_per_megapixel=0.4,
)
# EXIF in a JPEG has 64 kB: 5 kB of settings and losses, up to 100 bytes per style image.
JPEG = ImageFormat(
    name="JPEG",
    encode_metadata=encode_exif,
    options={"quality": 95, "subsampling": 0},
    seconds_per_megapixel=0.05,
    has_alpha=False,
    max_side=65_500,
    max_styles=500,
)
TIFF = ImageFormat(
    name="TIFF",
    encode_metadata=encode_tiff_tag,
    options={"compression": "tiff_adobe_deflate"},
    seconds_per_megapixel=0.4,
)
# Lossless, since lossy WebP always subsamples chroma. Quality is then effort: 20 is as small as 80,
# and 3.7 times as fast.
WEBP = ImageFormat(
    name="WEBP",
    encode_metadata=encode_exif,
    options={"lossless": True, "quality": 20},
    seconds_per_megapixel=0.5,
    max_side=16_383,
)
FORMAT_BY_SUFFIX = {
    ".png": PNG,
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".webp": WEBP,
}


def find_image_format(path: Path) -> ImageFormat:
    """Return the format of a path's suffix. Raises UsageError for an unknown suffix."""
    *others, last = FORMAT_BY_SUFFIX
    if path.suffix.lower() not in FORMAT_BY_SUFFIX:
        raise UsageError(
            f"out must end in {', '.join(others)} or {last}, not {printable(path.name)}"
        )
    return FORMAT_BY_SUFFIX[path.suffix.lower()]


def read_image_metadata(path: str) -> str:
    """Return the text of an image's record, empty without one; pixels are not decoded."""
    names = {form.name for form in FORMAT_BY_SUFFIX.values()}
    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=tuple(names)) as opened:
        if opened.format == PNG.name:
            return str(opened.info.get(PNG_TEXT_KEY, ""))
        return str(opened.getexif().get(DESCRIPTION_TAG, ""))
