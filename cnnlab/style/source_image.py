"""Content and style images: read, resized, converted to tensors and back."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor

from cnnlab.core.errors import CnnlabError, summarize_error
from cnnlab.core.files import read_bytes
from cnnlab.core.image_file import MAX_FILE_BYTES, TooManyPixels
from cnnlab.core.photo import Photo, composite_on_white, read_photo, whiten_transparent
from cnnlab.core.quoting import printable
from cnnlab.style.scales import Size


@dataclass(frozen=True)
class SourceImage:
    """An image file: its pixels and its hash."""

    path: Path
    photo: Photo
    sha256: str

    @property
    def size(self) -> Size:
        return self.photo.rgb.height, self.photo.rgb.width

    @cached_property
    def is_gray(self) -> bool:
        """Return whether red, green and blue are equal in every pixel."""
        red, green, blue = self.photo.rgb.split()
        return not any(ImageChops.difference(red, other).getbbox() for other in (green, blue))

    def resize(self, size: Size) -> Image.Image:
        """Return the RGB image at a size, by Lanczos resampling.

        Colors are weighted by alpha, so that hidden ones do not bleed; fully transparent pixels
        are white.
        """
        rgb, alpha = self.photo.rgb, self.photo.alpha
        if size == self.size:
            return rgb
        if alpha is None:
            return rgb.resize(size[::-1], Image.Resampling.LANCZOS)
        rgba = rgb.copy()
        rgba.putalpha(alpha)
        rgba = rgba.resize(size[::-1], Image.Resampling.LANCZOS)  # Pillow premultiplies by alpha
        resized = rgba.convert("RGB")
        whiten_transparent(resized, rgba.getchannel("A"))
        return resized

    def resize_alpha(self, size: Size) -> Image.Image | None:
        """Return the alpha channel at a size, mode L, or None for an opaque image."""
        alpha = self.photo.alpha
        if alpha is None or size == self.size:
            return alpha
        return alpha.resize(size[::-1], Image.Resampling.LANCZOS)

    def as_image_at_size(self, device: torch.device) -> Callable[[Size], Tensor]:
        """Return size -> (1, 3, H, W) in 0..1 on the device."""
        return lambda size: image_to_tensor(self.resize(size)).to(device)

    def transform(self, change: Callable[[Tensor], Tensor], size: Size) -> "SourceImage":
        """Return the image at a size, its pixels transformed by `change`."""
        rgb = tensor_to_image(change(image_to_tensor(self.resize(size))))
        return replace(self, photo=Photo(rgb, None, ()))

    def flatten_alpha(self) -> "SourceImage":
        """Return the image composited on white, with a note, where it has transparency."""
        rgb, alpha, notes = self.photo.rgb, self.photo.alpha, self.photo.notes
        if alpha is None:
            return self
        note = f"{printable(self.path.name)}: transparency composited on white"
        return replace(self, photo=Photo(composite_on_white(rgb, alpha), None, (*notes, note)))


def collect_image_notes(*images: SourceImage) -> list[str]:
    """Return the notes of images on how they were read, without duplicates."""
    return list(dict.fromkeys(note for image in images for note in image.photo.notes))


def read_source_image(name: str, max_pixels: int) -> SourceImage:
    """Return an image file's content. Raises CnnlabError for one that cannot be read."""
    try:
        photo = read_photo(name, max_pixels=max_pixels)
    except TooManyPixels as error:
        raise CnnlabError(f"{error}; max_pixels=N raises the limit") from error
    return SourceImage(Path(name), photo, hash_image_file(name))


def hash_image_file(name: str) -> str:
    """Return a file's SHA-256. Raises CnnlabError for one that cannot be read."""
    try:
        return hashlib.sha256(read_bytes(name, MAX_FILE_BYTES)).hexdigest()
    except OSError as error:
        raise CnnlabError(f"{printable(name)} cannot be read: {summarize_error(error)}") from error


def has_same_aspect(size: Size, content_size: Size) -> bool:
    """Return whether an image has the content image's aspect ratio, up to rounding."""
    (height, width), (content_height, content_width) = size, content_size
    height_error = abs(height - content_height * width / content_width)
    width_error = abs(width - content_width * height / content_height)
    return height_error <= max(1.0, 0.01 * height) or width_error <= 1


def image_to_tensor(image: Image.Image) -> Tensor:
    """Return an RGB image as (1, 3, H, W) in 0..1, float32."""
    return torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1).unsqueeze(0).div_(255)


def tensor_to_image(x: Tensor) -> Image.Image:
    """Return (1, 3, H, W) as an RGB image, clamped to 0..1 and rounded to 8 bits."""
    pixels = x.detach().float().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return Image.fromarray(pixels[0].permute(1, 2, 0).cpu().numpy())
