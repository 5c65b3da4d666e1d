"""The kinds of file that a painted picture can be, and how each says what made it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sys import maxsize
from typing import Any

from PIL import Image, PngImagePlugin

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable

PNG_TEXT_KEY = "cnnlab"  # the PNG's text that says what made it
DESCRIPTION_TAG, PREDICTOR_TAG = (
    270,
    317,
)  # tags of TIFF, the first also of EXIF: there the other formats say it


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """How a kind of picture file is written: Pillow's name, how it says what made it, and Pillow's options.
    `megapixel_s`: seconds that a million pixels take at most on a slow core; `alpha`: whether it can have transparency;
    `side`: pixels that a side may have; `paintings`: whose hashes it has room for."""

    name: str
    encode_metadata: Callable[[str], dict[str, Any]]
    options: dict[str, Any]
    seconds_per_megapixel: float
    has_alpha: bool = True
    max_side: int = maxsize
    max_styles: int = maxsize

    def check_fits(self, ending: str, size: tuple[int, int], num_styles: int) -> None:
        """Raises UsageError where a picture would not go into such a file."""
        if max(size) > self.max_side:
            raise UsageError(
                f"a {ending} can have {self.max_side:,} pixels a side, not {max(size):,}"
            )
        if num_styles > self.max_styles:
            raise UsageError(
                f"a {ending} has room to name {self.max_styles} paintings, not {num_styles}"
            )


def encode_png_text(record: str) -> dict[str, Any]:
    """A record as the option that puts it into a PNG."""
    text = PngImagePlugin.PngInfo()
    text.add_text(PNG_TEXT_KEY, record)
    return {"pnginfo": text}


def encode_exif(record: str) -> dict[str, Any]:
    """And into a JPEG or a WebP, whose EXIF is a small TIFF."""
    exif = Image.Exif()
    exif[DESCRIPTION_TAG] = record
    return {"exif": exif}


def encode_tiff_tag(record: str) -> dict[str, Any]:
    """And into a TIFF; with a predictor, which stores neighbours' differences and makes the file smaller."""
    return {"tiffinfo": {DESCRIPTION_TAG: record, PREDICTOR_TAG: 2}}


# Of a painted picture level 4 makes as small a file as Pillow's 6, 2.5 times as fast.
PNG = ImageFormat(
    name="PNG",
    encode_metadata=encode_png_text,
    options={"compress_level": 4},
    seconds_per_megapixel=0.4,
)
# EXIF is 64 kB in a JPEG: 5 kB of settings and losses, and up to 100 bytes for a painting's hash and weight.
JPEG = ImageFormat(name="JPEG", encode_metadata=encode_exif, options={"quality": 95, "subsampling": 0}, seconds_per_megapixel=0.05, has_alpha=False,
              max_side=65_500, max_styles=500)  # fmt: skip
TIFF = ImageFormat(
    name="TIFF",
    encode_metadata=encode_tiff_tag,
    options={"compression": "tiff_adobe_deflate"},
    seconds_per_megapixel=0.4,
)
# Lossless: the other kind of WebP halves the colours' resolution at any quality, and strokes are made of colour. There
# quality is effort: a file as small as at 80, 3.7 times as fast.
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
    """The format that a name asks for. Raises UsageError where it asks for none."""
    *most, last = FORMAT_BY_SUFFIX
    if path.suffix.lower() not in FORMAT_BY_SUFFIX:
        raise UsageError(f"out must end in {', '.join(most)} or {last}, not {printable(path.name)}")
    return FORMAT_BY_SUFFIX[path.suffix.lower()]


def read_image_metadata(path: str) -> str:
    """The text in which a picture may say what made it; the pixels stay undecoded."""
    kinds = {form.name for form in FORMAT_BY_SUFFIX.values()}
    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=tuple(kinds)) as opened:
        if opened.format == PNG.name:
            return str(opened.info.get(PNG_TEXT_KEY, ""))
        return str(opened.getexif().get(DESCRIPTION_TAG, ""))
