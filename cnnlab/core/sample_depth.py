"""Scale an image's samples of more than 8 bits to 8, by what means black and white in its file."""

import numpy as np
from PIL import Image, ImageFile

SAMPLE_FORMAT, PHOTOMETRIC = 339, 262  # tags of TIFF
UNSIGNED, FLOAT, WHITE_IS_ZERO = 1, 3, 0  # their values
BAND_PIXELS = 1 << 20  # converted at a time, which bounds the memory of intermediate values
# Pillow scales a PNG's pixels by this, but not its transparent color.
PNG_GRAY_SCALES = {"L;2": (3, 85), "L;4": (15, 17)}  # raw mode: (largest sample, factor)


def find_raw_mode(image: ImageFile.ImageFile) -> str:
    """Return Pillow's name of how an opened image's samples are stored, where it has one."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def find_sample_range(image: ImageFile.ImageFile) -> tuple[float, float]:
    """Return the samples that mean black and white in an opened image of more than 8 bits.

    Raises ValueError where they are undefined: signed integers, and integers of 32 bits.
    """
    white = 1 if image.mode == "F" else 65535
    if image.format != "TIFF":
        return 0, white  # Pillow scales a PGM's samples
    tags = image.tag_v2  # type: ignore[attr-defined]
    if image.mode == "I" or not set(tags.get(SAMPLE_FORMAT, ())) <= {UNSIGNED, FLOAT}:
        raise ValueError("signed or 32-bit integers have no defined white; use 8 or 16 bits")
    if find_raw_mode(image) == "I;12":
        white = 4095
    # Pillow inverts samples of up to 8 bits itself, also where the tag is missing.
    return (white, 0) if tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO else (0, white)


def scale_transparent_color(image: ImageFile.ImageFile) -> None:
    """Scale an opened PNG's transparent color as Pillow scales its pixels."""
    color = image.info.get("transparency")
    if image.format != "PNG" or color is None:
        return
    raw_mode = find_raw_mode(image)
    if raw_mode in PNG_GRAY_SCALES:
        mask, factor = PNG_GRAY_SCALES[raw_mode]
        image.info["transparency"] = (color & mask) * factor
    elif raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in color)


def scale_to_8_bits(image: Image.Image, black: float, white: float) -> Image.Image:
    """Return a loaded image in 8-bit samples; one of more bits as L, or LA if it has a transparent
    color. Raises ValueError for floats outside 0..1."""
    if image.mode[0] not in "IF":
        return image.convert("LA") if image.mode == "La" else image
    samples, key = np.asarray(image), image.info.get("transparency")
    if image.mode == "F" and not 0 <= float(samples.min()) <= float(samples.max()) <= 1:
        raise ValueError(
            f"it has floats from {samples.min():g} to {samples.max():g}; "
            f"0 is black and 1 is white, and no other may occur"
        )
    gray = np.empty(samples.shape, np.uint8)
    band = max(1, BAND_PIXELS // image.width)
    for start in range(0, image.height, band):
        rows = samples[start : start + band].astype(np.float64)
        gray[start : start + band] = np.rint((rows - black) * (255 / (white - black))).clip(0, 255)
    scaled = Image.fromarray(gray)
    if key is not None:
        scaled.putalpha(Image.fromarray((samples != key).astype(np.uint8) * np.uint8(255)))
    scaled.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return scaled
