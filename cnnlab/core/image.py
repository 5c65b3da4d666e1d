"""Read and write image files, and arrange images in a grid."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from cnnlab.core.files import read_bytes, write_atomically
from cnnlab.core.image_file import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    load_image,
    translate_read_errors,
)

MAX_RESIZED_PIXELS = 1 << 24  # a thin image is cropped before it is resized to more
BAND_PIXELS = 1 << 20  # composited at a time, which bounds the memory of intermediate images


def read_image(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, target_side: int | None = None
) -> Image.Image:
    """Read an image file as RGB or, where it is gray, L.

    The EXIF orientation is applied, transparency is composited on white, and the first of several
    frames is taken. `target_side`: pixels that the shorter side will be resized to, so that a large
    JPEG is not decoded at full size. Raises CnnlabError for a file that is missing, not an image,
    damaged, or larger than `max_pixels`."""
    return read_image_and_size(path, max_pixels=max_pixels, target_side=target_side)[0]


def read_image_and_size(
    path: str | Path, *, max_pixels: int, target_side: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """Read an image file as `read_image` does; return also the upright (width, height) of the
    file."""
    with translate_read_errors(path):
        blob = read_bytes(path, MAX_FILE_BYTES)
        image, size = load_image(blob, path, max_pixels, notes=[], target_side=target_side)
        return convert_to_gray_or_rgb(image), size


def resize_center_crop(image: Image.Image, size: int) -> Image.Image:
    """Return an image resized so that its short side is `size` pixels, bilinear with antialiasing,
    and center-cropped: torchvision's Resize(size) and CenterCrop(size)."""
    width, height = image.size
    if min(width, height) != size:
        short = min(width, height)
        width, height = (max(size, int(size * side / short)) for side in (width, height))
        if width * height > MAX_RESIZED_PIXELS:
            return resize_center_box(image, width, height, size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if width == height:
        return image
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def resize_center_box(image: Image.Image, width: int, height: int, size: int) -> Image.Image:
    """Return the central square of `size` pixels of an image resized to `width` and `height`,
    computing no other pixel."""
    scale_x, scale_y = image.width / width, image.height / height
    left, top = round((width - size) / 2) * scale_x, round((height - size) / 2) * scale_y
    box = (
        left,
        top,
        min(left + size * scale_x, image.width),
        min(top + size * scale_y, image.height),
    )
    return image.resize((size, size), Image.Resampling.BILINEAR, box)


def convert_to_gray_or_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode of 8-bit samples to L or RGB; transparency is composited on white."""
    if image.has_transparency_data:
        return composite_in_bands(image.convert("RGBA"))
    return image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB")


def composite_in_bands(rgba: Image.Image) -> Image.Image:
    """Return RGBA composited on white as RGB. An alpha that hides all of the image was never
    filled, and is ignored."""
    if rgba.getchannel("A").getextrema() == (0, 0):
        return rgba.convert("RGB")
    rows = max(1, BAND_PIXELS // rgba.width)
    if rows >= rgba.height:
        return flatten_on_white(rgba)
    rgb = Image.new("RGB", rgba.size)
    for top in range(0, rgba.height, rows):
        band = rgba.crop((0, top, rgba.width, min(top + rows, rgba.height)))
        rgb.paste(flatten_on_white(band), (0, top))
    return rgb


def flatten_on_white(rgba: Image.Image) -> Image.Image:
    background = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(background, rgba).convert("RGB")


def encode_png(image: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def save_png(path: Path, image: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) uint8 to a PNG file atomically."""
    blob = encode_png(image)
    write_atomically(path, lambda part: part.write_bytes(blob))


def make_image_grid(
    images: np.ndarray, columns: int, *, gap: int = 1, background: int = 128, zoom: int = 1
) -> np.ndarray:
    """Lay (N, H, W, C) uint8 images out in rows of `columns`, each pixel `zoom` wide and `gap`
    pixels of `background` around each image; return (H', W', C) uint8, without the last axis where
    C is 1."""
    n, height, width, channels = images.shape
    height, width, rows = height * zoom, width * zoom, math.ceil(n / columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), background, np.uint8)
    cells[:n, :height, :width] = images if zoom == 1 else images.repeat(zoom, 1).repeat(zoom, 2)
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), background, np.uint8
    )
    sheet[gap:, gap:] = cells.reshape(rows * (height + gap), columns * (width + gap), channels)
    return sheet[..., 0] if channels == 1 else sheet
