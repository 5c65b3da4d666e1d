"""`stylize`'s pictures: read, brought to a size, written with what made them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnlab.core.errors import CnnlabError, summarize_error
from cnnlab.core.image import TooManyPixels
from cnnlab.core.photo import Photo, composite_on_white, read_photo, whiten_transparent
from cnnlab.core.quoting import printable
from cnnlab.style.scales import Size


@dataclass(frozen=True)
class SourceImage:
    """A picture file: what it shows, and its hash."""

    path: Path
    photo: Photo
    sha256: str

    @property
    def size(self) -> Size:
        return self.photo.rgb.height, self.photo.rgb.width

    def resize(self, size: Size) -> Image.Image:
        """RGB, brought to a size by Lanczos' filter, which averages what falls together: colours as far as they are
        seen, so that hidden ones do not shine through; white where nothing is seen."""
        rgb, alpha = self.photo.rgb, self.photo.alpha
        if size == self.size:
            return rgb
        if alpha is None:
            return rgb.resize(size[::-1], Image.Resampling.LANCZOS)
        both = rgb.copy()
        both.putalpha(alpha)
        both = both.resize(
            size[::-1], Image.Resampling.LANCZOS
        )  # Pillow's way through RGBa weighs by alpha
        small = both.convert("RGB")
        whiten_transparent(small, both.getchannel("A"))
        return small

    def resize_alpha(self, size: Size) -> Image.Image | None:
        """Its transparency at a size, L; None where it is opaque."""
        alpha = self.photo.alpha
        return (
            alpha
            if alpha is None or size == self.size
            else alpha.resize(size[::-1], Image.Resampling.LANCZOS)
        )

    def as_image_at_size(self, device: torch.device) -> Callable[[Size], Tensor]:
        """A size -> (1, 3, H, W) in 0..1."""
        return lambda size: image_to_tensor(self.resize(size)).to(device)

    def transform(self, change: Callable[[Tensor], Tensor], size: Size) -> "SourceImage":
        """The same at a size, its pixels passed through `change`."""
        return replace(
            self, photo=Photo(tensor_to_image(change(image_to_tensor(self.resize(size)))), None, ())
        )

    def flatten_alpha(self) -> "SourceImage":
        """The same on white paper, which a note says, where it has transparency."""
        rgb, alpha, notes = self.photo.rgb, self.photo.alpha, self.photo.notes
        if alpha is None:
            return self
        note = f"{printable(self.path.name)}: its transparency is laid on white"
        return replace(self, photo=Photo(composite_on_white(rgb, alpha), None, (*notes, note)))


def collect_image_notes(*pictures: SourceImage) -> list[str]:
    """What is to be said of pictures as they were read, each once."""
    return list(dict.fromkeys(note for one in pictures for note in one.photo.notes))


def read_source_image(name: str, max_pixels: int) -> SourceImage:
    """Any picture file. Raises CnnlabError for one that cannot be read."""
    if Path(name).is_dir():
        raise CnnlabError(f"{printable(name)} is a folder, not a picture")
    try:
        photo = read_photo(name, max_pixels=max_pixels)
    except TooManyPixels as error:
        raise CnnlabError(f"{error}; max_pixels=N raises it") from error
    return SourceImage(Path(name), photo, hash_image_file(name))


def hash_image_file(name: str) -> str:
    """A file's SHA-256. Raises CnnlabError."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError as error:
        raise CnnlabError(f"no picture {printable(name)}: {summarize_error(error)}") from error


def image_to_tensor(image: Image.Image) -> Tensor:
    """RGB -> (1, 3, H, W) in 0..1, float32."""
    return torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1).unsqueeze(0).div_(255)


def tensor_to_image(x: Tensor) -> Image.Image:
    """(1, 3, H, W) -> RGB, cut off at 0 and 1 and rounded to 8 bits."""
    pixels = x.detach().float().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return Image.fromarray(pixels[0].permute(1, 2, 0).cpu().numpy())
