"""A picture file as people have them: turned upright, its colours brought to sRGB, its transparency kept apart."""

import io
import struct
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageCms

from cnnlab.core.image import (
    MAX_PIXELS,
    convert_to_gray_or_rgb,
    open_image,
    printable_path,
    translate_read_errors,
)

EXIF_ORIENTATION = 274  # the EXIF tag
EXIF_TRANSPOSES = dict(enumerate((Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
                        Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
                        Image.Transpose.ROTATE_90), 2))  # fmt: skip
# What several pictures in one file are called. A JPEG's (MPO) are previews of the first, and not told of.
MULTI_IMAGE_NOUNS = {
    "AVIF": "frames",
    "GIF": "frames",
    "PNG": "frames",
    "TIFF": "pages",
    "WEBP": "frames",
}
OPAQUE_MODES = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "CMYK": "CMYK",
    "LAB": "LAB",
}  # modes that are not brought to RGB at once
PROFILE_MODES = {
    "RGB ": "RGB",
    "GRAY": "L",
    "CMYK": "CMYK",
    "Lab ": "LAB",
}  # of profiles, as Pillow's modes


@dataclass(frozen=True)
class Photo:
    """`rgb`: sRGB, white where nothing is to be seen; `alpha`: its transparency, L of the same size, or None where it
    is opaque; `notes`: what was left out or could not be used, a line each."""

    rgb: Image.Image
    alpha: Image.Image | None
    notes: tuple[str, ...]


def read_photo(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Any picture file, of several pictures in it the first. Raises CnnlabError for what is missing, not a picture,
    damaged, or has more than `max_pixels`."""
    notes: list[str] = []
    with (
        translate_read_errors(path),
        warnings.catch_warnings(action="ignore"),
    ):  # Pillow's, of damage that it gets over
        blob = Path(path).read_bytes()
        image: Image.Image = open_image(blob, path, max_pixels)
        if kind := MULTI_IMAGE_NOUNS.get(image.format or ""):
            # Counted in a copy: a damaged later one leaves the reader there.
            n = count_frames(open_image(blob, path, max_pixels))
            notes += [f"the first of {n} {kind}"] * (n > 1)
        image.load()
        image = apply_exif_orientation(image, notes)
        alpha = extract_alpha(image)
        rgb = convert_to_srgb(image, notes)
    if alpha:
        whiten_transparent(rgb, alpha)
    return Photo(rgb, alpha, tuple(f"{printable_path(Path(path).name)}: {note}" for note in notes))


def count_frames(image: Image.Image) -> int:
    """How many pictures are in a file, or come before one that is damaged."""
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged file can make a decoder raise anything
        return image.tell() + 1


def apply_exif_orientation(image: Image.Image, notes: list[str]) -> Image.Image:
    """Turned and mirrored as its EXIF says. Not Pillow's exif_transpose, which also writes the EXIF anew, and raises
    where a tag that nobody asked for is damaged."""
    try:
        turn = EXIF_TRANSPOSES.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # a damaged EXIF can make Pillow raise anything
        notes.append("its EXIF cannot be read, and turns nothing")
        return image
    return image if turn is None else image.transpose(turn)


def extract_alpha(image: Image.Image) -> Image.Image | None:
    """A picture's alpha as L, 255 opaque, from a channel, a palette, or a colour that is said to be transparent; None
    where it hides nothing."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would cut off at 255 first
        shown = np.asarray(image) != image.info["transparency"]
        alpha = Image.fromarray(shown.astype(np.uint8) * 255)
    else:
        alpha = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
    # A fourth channel that hides the whole picture is one that nobody filled (32-bit TGA).
    return None if alpha.getextrema() in ((255, 255), (0, 0)) else alpha


def convert_to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Any mode -> opaque RGB: by its profile, or where it has none as Pillow converts. May change `image`."""
    tagged, icc = "icc_profile" in image.info, image.info.get("icc_profile")
    image = convert_to_opaque(image)
    if tagged:
        try:
            # Pillow has None for one that it found and could not unpack.
            return apply_icc_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(icc or b"")))
        except (ImageCms.PyCMSError, OSError, ValueError, KeyError):
            notes.append("its colour profile cannot be used, and is ignored")
    if image.mode == "LAB":
        return apply_icc_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return convert_mode(image, "RGB")


def convert_to_opaque(image: Image.Image) -> Image.Image:
    """Any mode -> L, RGB, CMYK or LAB, 8 bits and without transparency."""
    image.info.pop("transparency", None)  # a conversion would stumble over it
    return (
        convert_to_gray_or_rgb(image)
        if image.mode.startswith(("I", "F"))
        else convert_mode(image, OPAQUE_MODES.get(image.mode, "RGB"))
    )


def convert_mode(image: Image.Image, mode: str) -> Image.Image:
    """Converted, and not copied where it is of that mode."""
    return image if image.mode == mode else image.convert(mode)


def apply_icc_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """L, RGB, CMYK or LAB in a profile's numbers -> sRGB: relative colorimetric, black to black. RGB is changed in
    place. Raises PyCMSError, KeyError or ValueError for a profile that is damaged or not of such pixels."""
    mode = PROFILE_MODES[profile.profile.xcolor_space]
    if image.mode == "L" and mode == "RGB":  # grey is a colour too, and such files are common
        image = image.convert("RGB")
    if image.mode != mode:
        raise ValueError(f"a profile of {mode} for pixels of {image.mode}")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    if not (mode == "RGB" and profile.profile.is_matrix_shaper):
        # littlecms would look colours up in a coarse table: 5 of 255 off beside red, 7 in a linear grey's shadows. What
        # photographs have, three curves and a matrix, it works out well, and ten times as fast.
        flags |= ImageCms.Flags.NOOPTIMIZE
    turn = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags
    )
    if mode in ("L", "RGB") and is_identity_transform(turn, mode):
        return convert_mode(image, "RGB")
    return turn.apply_in_place(image) if mode == "RGB" else turn.apply(image)


def is_identity_transform(turn: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform of L or RGB moves no colour by more than 1 of 255, as that from somebody else's sRGB does:
    then it would add rounding and nothing else. Asked of every fifth value of each channel."""
    colours = np.indices((52, 52, 52), dtype=np.uint8).reshape(3, 52, -1).transpose(
        1, 2, 0
    ) * np.uint8(5)
    before = convert_mode(Image.fromarray(np.ascontiguousarray(colours)), mode)
    moved = ImageChops.difference(turn.apply(before), convert_mode(before, "RGB")).getextrema()
    return max(high for _, high in moved) <= 1  # type: ignore[misc]


def whiten_transparent(rgb: Image.Image, alpha: Image.Image) -> None:
    """White where alpha is 0, in place: what is hidden there is nobody's to see."""
    rgb.paste((255, 255, 255), None, alpha.point([255] + [0] * 255))


def composite_on_white(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """RGB with its transparency -> opaque RGB, as on white paper."""
    paper = Image.new("RGB", rgb.size, "white")
    paper.paste(rgb, None, alpha)
    return paper


@cache
def make_srgb_profile() -> bytes:
    """The sRGB profile that written files are tagged with, the same bytes at any time: littlecms writes its day there
    (bytes 24 to 35 of the head, and in some versions a sum over all in 84 to 99)."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return (
        made[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + made[36:84] + bytes(16) + made[100:]
    )
