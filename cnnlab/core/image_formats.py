"""The kinds of file that a painted picture can be, and how each says what made it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sys import maxsize
from typing import Any

from PIL import Image, PngImagePlugin

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import plain

CHUNK = "cnnlab"  # the PNG's text that says what made it
DESCRIPTION, PREDICTOR = 270, 317  # tags of TIFF, the first also of EXIF: there the other formats say it


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a kind of picture file is written: Pillow's name, how it says what made it, and Pillow's options.
    `megapixel_s`: seconds that a million pixels take at most on a slow core; `alpha`: whether it can have transparency;
    `side`: pixels that a side may have; `paintings`: whose hashes it has room for."""

    name: str
    said: Callable[[str], dict[str, Any]]
    options: dict[str, Any]
    megapixel_s: float
    alpha: bool = True
    side: int = maxsize
    paintings: int = maxsize

    def hold(self, ending: str, size: tuple[int, int], paintings: int) -> None:
        """Raises UsageError where a picture would not go into such a file."""
        if max(size) > self.side:
            raise UsageError(f"a {ending} can have {self.side:,} pixels a side, not {max(size):,}")
        if paintings > self.paintings:
            raise UsageError(f"a {ending} has room to name {self.paintings} paintings, not {paintings}")


def as_text(record: str) -> dict[str, Any]:
    """A record as the option that puts it into a PNG."""
    text = PngImagePlugin.PngInfo()
    text.add_text(CHUNK, record)
    return {"pnginfo": text}


def as_exif(record: str) -> dict[str, Any]:
    """And into a JPEG or a WebP, whose EXIF is a small TIFF."""
    exif = Image.Exif()
    exif[DESCRIPTION] = record
    return {"exif": exif}


def as_tag(record: str) -> dict[str, Any]:
    """And into a TIFF; with a predictor, which stores neighbours' differences and makes the file smaller."""
    return {"tiffinfo": {DESCRIPTION: record, PREDICTOR: 2}}


# Of a painted picture level 4 makes as small a file as Pillow's 6, 2.5 times as fast.
PNG = Format(name="PNG", said=as_text, options={"compress_level": 4}, megapixel_s=0.4)
# EXIF is 64 kB in a JPEG: 5 kB of settings and losses, and up to 100 bytes for a painting's hash and weight.
JPEG = Format(name="JPEG", said=as_exif, options={"quality": 95, "subsampling": 0}, megapixel_s=0.05, alpha=False,
              side=65_500, paintings=500)  # fmt: skip
TIFF = Format(name="TIFF", said=as_tag, options={"compression": "tiff_adobe_deflate"}, megapixel_s=0.4)
# Lossless: the other kind of WebP halves the colours' resolution at any quality, and strokes are made of colour. There
# quality is effort: a file as small as at 80, 3.7 times as fast.
WEBP = Format(name="WEBP", said=as_exif, options={"lossless": True, "quality": 20}, megapixel_s=0.5, side=16_383)
ENDINGS = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".tif": TIFF, ".tiff": TIFF, ".webp": WEBP}


def format_of(path: Path) -> Format:
    """The format that a name asks for. Raises UsageError where it asks for none."""
    *most, last = ENDINGS
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"out must end in {', '.join(most)} or {last}, not {plain(path.name)}")
    return ENDINGS[path.suffix.lower()]


def said_by(path: str) -> str:
    """The text in which a picture may say what made it; the pixels stay undecoded."""
    kinds = {form.name for form in ENDINGS.values()}
    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=tuple(kinds)) as opened:
        if opened.format == PNG.name:
            return str(opened.info.get(CHUNK, ""))
        return str(opened.getexif().get(DESCRIPTION, ""))
