"""Read any image file: upright, in sRGB, with its transparency apart.

`core.image.read_image` reads training images: it applies no color profile, and its pixels are part
of every recorded result. The two share `core.image_file`."""

import io
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageCms

from cnnlab.core.files import read_bytes
from cnnlab.core.image_file import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    load_image,
    open_image,
    printable_path,
    translate_read_errors,
)

# Names for several images in one file. A JPEG's (MPO) are previews of the first, and not reported.
MULTI_IMAGE_NOUNS = {
    "AVIF": "frames",
    "GIF": "frames",
    "PNG": "frames",
    "TIFF": "pages",
    "WEBP": "frames",
}
# Modes that are not converted to RGB at once, and Pillow's modes of profiles' color spaces.
OPAQUE_MODES = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}
PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}


@dataclass(frozen=True)
class Photo:
    """`rgb`: sRGB, white where it is fully transparent; `alpha`: L of the same size, or None if it
    is opaque; `notes`: what was ignored, a line each."""

    rgb: Image.Image
    alpha: Image.Image | None
    notes: tuple[str, ...]


def read_photo(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Return an image file's first image. Raises CnnlabError for a file that is missing, not an
    image, damaged, or has more than `max_pixels`."""
    notes: list[str] = []
    with translate_read_errors(path):
        blob = read_bytes(path, MAX_FILE_BYTES)
        notes += note_other_images(open_image(blob, path, max_pixels))
        image, _ = load_image(blob, path, max_pixels, notes)
        alpha = extract_alpha(image)
        rgb = convert_to_srgb(image, notes)
    if alpha:
        whiten_transparent(rgb, alpha)
    return Photo(rgb, alpha, tuple(f"{printable_path(Path(path).name)}: {note}" for note in notes))


def note_other_images(image: Image.Image) -> list[str]:
    """Return a note where a file holds several images. They are not counted, which takes a minute
    for 100,000. The image must not be decoded afterwards: a damaged later frame stops it there."""
    noun = MULTI_IMAGE_NOUNS.get(image.format or "")
    try:
        has_others = bool(noun and getattr(image, "is_animated", False))
    except Exception:  # a damaged file can make a decoder raise anything
        has_others = True
    return [f"the first of several {noun}"] * has_others


def extract_alpha(image: Image.Image) -> Image.Image | None:
    """Return an image's alpha as L, 255 opaque, from a channel, a palette, or a transparent color;
    None if all is opaque."""
    if not image.has_transparency_data:
        return None
    alpha = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
    # A fourth channel that hides the whole image was never filled (32-bit TGA).
    return None if alpha.getextrema() in ((255, 255), (0, 0)) else alpha


def convert_to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Convert any mode to opaque sRGB by its profile, or by Pillow without one. May change
    `image`."""
    has_profile, icc = "icc_profile" in image.info, image.info.get("icc_profile")
    image = convert_to_opaque(image)
    if has_profile:
        try:
            # Pillow gives None for a profile that it could not decompress.
            return apply_icc_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(icc or b"")))
        except (ImageCms.PyCMSError, OSError, ValueError, KeyError):
            notes.append("its color profile cannot be used, and is ignored")
    if image.mode == "LAB":
        return apply_icc_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return convert_mode(image, "RGB")


def convert_to_opaque(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit L, RGB, CMYK or LAB without transparency."""
    image.info.pop("transparency", None)  # some conversions fail with it
    return convert_mode(image, OPAQUE_MODES.get(image.mode, "RGB"))


def convert_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image; one of that mode is not copied."""
    return image if image.mode == mode else image.convert(mode)


def apply_icc_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Convert L, RGB, CMYK or LAB in a profile's color space to sRGB: relative colorimetric, with
    black point compensation. RGB is changed in place. Raises PyCMSError, KeyError or ValueError for
    a profile that is damaged or does not fit the pixels."""
    mode = PROFILE_MODES[profile.profile.xcolor_space]
    if image.mode == "L" and mode == "RGB":  # such files are common
        image = image.convert("RGB")
    if image.mode != mode:
        raise ValueError(f"a profile of {mode} for pixels of {image.mode}")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    if not (mode == "RGB" and profile.profile.is_matrix_shaper):
        # Optimized, littlecms interpolates in a coarse table: up to 5 of 255 off near red, 7 in a
        # linear gray's shadows. Photographs' profiles, three curves and a matrix, are exact
        # either way, and ten times as fast optimized.
        flags |= ImageCms.Flags.NOOPTIMIZE
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(profile, srgb, mode, "RGB", intent, flags)
    if mode in ("L", "RGB") and is_identity_transform(transform, mode):
        return convert_mode(image, "RGB")
    return transform.apply_in_place(image) if mode == "RGB" else transform.apply(image)


def is_identity_transform(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether a transform of L or RGB changes no color by more than 1 of 255, as one from
    another vendor's sRGB does: it would only add rounding. Every fifth value of each channel is
    tested."""
    grid = np.indices((52, 52, 52), dtype=np.uint8).reshape(3, 52, -1).transpose(1, 2, 0)
    colors = np.ascontiguousarray(grid * np.uint8(5))
    before = convert_mode(Image.fromarray(colors), mode)
    change = ImageChops.difference(transform.apply(before), convert_mode(before, "RGB"))
    return max(high for _, high in change.getextrema()) <= 1  # type: ignore[misc]


def whiten_transparent(rgb: Image.Image, alpha: Image.Image) -> None:
    """Make pixels with alpha 0 white in place: their hidden color is not part of the image."""
    rgb.paste((255, 255, 255), None, alpha.point([255] + [0] * 255))


def composite_on_white(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """Return RGB composited on white by its alpha."""
    background = Image.new("RGB", rgb.size, "white")
    background.paste(rgb, None, alpha)
    return background


@cache
def make_srgb_profile() -> bytes:
    """Return the sRGB profile for written files, with constant bytes: littlecms writes the date
    (bytes 24 to 35 of the header) and in some versions a checksum (84 to 99)."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    date = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return profile[:24] + date + profile[36:84] + bytes(16) + profile[100:]
