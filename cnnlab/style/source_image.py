"""`stylize`'s pictures: read, brought to a size, written with what made them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnlab.core.errors import CnnlabError, reason
from cnnlab.core.image import TooManyPixels
from cnnlab.core.photo import Photo, on_white, read_photo, whiten
from cnnlab.core.quoting import plain
from cnnlab.style.scales import Size


@dataclass(frozen=True)
class Original:
    """A picture file: what it shows, and its hash."""

    path: Path
    photo: Photo
    sha256: str

    @property
    def size(self) -> Size:
        return self.photo.rgb.height, self.photo.rgb.width

    def at(self, size: Size) -> Image.Image:
        """RGB, brought to a size by Lanczos' filter, which averages what falls together: colours as far as they are
        seen, so that hidden ones do not shine through; white where nothing is seen."""
        rgb, alpha = self.photo.rgb, self.photo.alpha
        if size == self.size:
            return rgb
        if alpha is None:
            return rgb.resize(size[::-1], Image.Resampling.LANCZOS)
        both = rgb.copy()
        both.putalpha(alpha)
        both = both.resize(size[::-1], Image.Resampling.LANCZOS)  # Pillow's way through RGBa weighs by alpha
        small = both.convert("RGB")
        whiten(small, both.getchannel("A"))
        return small

    def alpha_at(self, size: Size) -> Image.Image | None:
        """Its transparency at a size, L; None where it is opaque."""
        alpha = self.photo.alpha
        return alpha if alpha is None or size == self.size else alpha.resize(size[::-1], Image.Resampling.LANCZOS)

    def tensor(self, device: torch.device) -> Callable[[Size], Tensor]:
        """A size -> (1, 3, H, W) in 0..1."""
        return lambda size: to_tensor(self.at(size)).to(device)

    def changed(self, change: Callable[[Tensor], Tensor], size: Size) -> "Original":
        """The same at a size, its pixels passed through `change`."""
        return replace(self, photo=Photo(to_image(change(to_tensor(self.at(size)))), None, ()))

    def opaque(self) -> "Original":
        """The same on white paper, which a note says, where it has transparency."""
        rgb, alpha, notes = self.photo.rgb, self.photo.alpha, self.photo.notes
        if alpha is None:
            return self
        note = f"{plain(self.path.name)}: its transparency is laid on white"
        return replace(self, photo=Photo(on_white(rgb, alpha), None, (*notes, note)))


def notes(*pictures: Original) -> list[str]:
    """What is to be said of pictures as they were read, each once."""
    return list(dict.fromkeys(note for one in pictures for note in one.photo.notes))


def original(name: str, max_pixels: int) -> Original:
    """Any picture file. Raises CnnlabError for one that cannot be read."""
    if Path(name).is_dir():
        raise CnnlabError(f"{plain(name)} is a folder, not a picture")
    try:
        photo = read_photo(name, max_pixels=max_pixels)
    except TooManyPixels as error:
        raise CnnlabError(f"{error}; max_pixels=N raises it") from error
    return Original(Path(name), photo, hashed(name))


def hashed(name: str) -> str:
    """A file's SHA-256. Raises CnnlabError."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError as error:
        raise CnnlabError(f"no picture {plain(name)}: {reason(error)}") from error


def to_tensor(image: Image.Image) -> Tensor:
    """RGB -> (1, 3, H, W) in 0..1, float32."""
    return torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1).unsqueeze(0).div_(255)


def to_image(x: Tensor) -> Image.Image:
    """(1, 3, H, W) -> RGB, cut off at 0 and 1 and rounded to 8 bits."""
    pixels = x.detach().float().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return Image.fromarray(pixels[0].permute(1, 2, 0).cpu().numpy())
