"""The image formats that are read, and how stylized images store a record of how they were made."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from sys import maxsize
from typing import Any

from PIL import Image, PngImagePlugin

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable

# Pillow's formats that are read by every command, and the suffixes that mark a folder's images. A
# file's content decides its format, whatever its suffix; formats are tried in this order, so those
# with a weak signature come last. Left out are formats whose size is unknown until they are decoded
# because they embed other formats (ICO, ICNS), or that run an interpreter (EPS).
SUFFIXES_BY_FORMAT = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm", ".pfm"),
    "QOI": (".qoi",),
    "PSD": (".psd",),
    "SGI": (".bw", ".rgb", ".rgba", ".sgi"),
    "SUN": (".ras",),
    "DIB": (".dib",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "PCX": (".pcx",),
}
# A HEIC file in a folder is an image even where the plugin is missing: reading it names the plugin.
IMAGE_SUFFIXES = tuple(chain.from_iterable(SUFFIXES_BY_FORMAT.values()))
HEIF_PLUGIN = "pillow_heif"
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_TEXT_KEY = "cnnlab"  # key of the PNG text with the record
# Tags of TIFF; the first is also EXIF's, which holds the record in the other formats.
DESCRIPTION_TAG, PREDICTOR_TAG = 270, 317


@cache
def list_readable_formats() -> tuple[str, ...]:
    """Return the formats that the installed Pillow reads; HEIF where its plugin is installed."""
    Image.init()
    with suppress(ImportError):
        import_module(HEIF_PLUGIN).register_heif_opener()
    return tuple(name for name in SUFFIXES_BY_FORMAT if name in Image.OPEN)


def describe_unreadable(head: bytes) -> str:
    """Return why a file with these first bytes is not read, and what to do."""
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        return "is HEIC, which Pillow reads with a plugin: pip install pillow-heif"
    if head[:4] in TIFF_SIGNATURES:
        return "is a TIFF of a kind that Pillow cannot read; convert it to 8 or 16 bits"
    return "is not an image that can be read"


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


def read_record_text(image: Image.Image) -> str:
    """Return the text of an opened image's record, empty without one; pixels are not decoded."""
    if image.format == PNG.name:
        return str(image.info.get(PNG_TEXT_KEY, ""))
    return str(image.getexif().get(DESCRIPTION_TAG, ""))
