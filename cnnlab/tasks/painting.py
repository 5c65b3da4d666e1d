"""`stylize`'s pictures: read, brought to a size, written with what made them."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from errno import ENAMETOOLONG
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from cnnlab.core.errors import CnnlabError, Unwritable, UsageError, reason
from cnnlab.core.files import part_of, write_new, write_whole
from cnnlab.core.image import TooManyPixels, read_picture
from cnnlab.core.text import plain
from cnnlab.style.plan import Size

CHUNK = "cnnlab"  # the PNG's text that says what made it
MOST_TEXT = 1_000_000  # characters of it that are read


@dataclass(frozen=True)
class Original:
    """A picture file: RGB, and its hash."""

    path: Path
    image: Image.Image
    sha256: str

    @property
    def size(self) -> Size:
        return self.image.height, self.image.width

    def at(self, size: Size) -> Image.Image:
        """Brought to a size by Lanczos' filter, which averages what falls together."""
        return self.image if size == self.size else self.image.resize(size[::-1], Image.Resampling.LANCZOS)

    def tensor(self, device: torch.device) -> Callable[[Size], Tensor]:
        """A size -> (1, 3, H, W) in 0..1."""
        return lambda size: to_tensor(self.at(size)).to(device)

    def changed(self, change: Callable[[Tensor], Tensor], size: Size) -> "Original":
        """The same at a size, its pixels passed through `change`."""
        return Original(self.path, to_image(change(to_tensor(self.at(size)))), self.sha256)


def original(name: str, max_pixels: int) -> Original:
    """A picture file as RGB. Raises CnnlabError for one that cannot be read."""
    if Path(name).is_dir():
        raise CnnlabError(f"{plain(name)} is a folder, not a picture")
    try:
        image = read_picture(name, max_pixels=max_pixels)
    except TooManyPixels as error:
        raise CnnlabError(f"{error}; max_pixels=N raises it") from error
    return Original(Path(name), image.convert("RGB"), hashed(name))


def hashed(name: str) -> str:
    """A file's SHA-256. Raises CnnlabError."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError as error:
        raise CnnlabError(f"no picture {plain(name)}: {reason(error)}") from error


def to_tensor(image: Image.Image) -> Tensor:
    """RGB -> (1, 3, H, W) in 0..1, float32."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).float() / 255


def to_image(x: Tensor) -> Image.Image:
    """(1, 3, H, W) -> RGB, cut off at 0 and 1 and rounded to 8 bits."""
    pixels = (x.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels[0].permute(1, 2, 0).cpu().numpy())


def place_for(out: str | None, content: Path, styles: list[Path], usual: Path | None, *, overwrite: bool) -> Path:
    """Where the picture goes: `out`, else `usual`, else beside the photograph. Raises UsageError for a name that is not
    a .png's or is taken, Unwritable for a folder that cannot be written to."""
    name = clipped("_".join(p.stem for p in (content, *styles)), 200) + ".png"
    path = Path(out).expanduser() if out else usual or content.with_name(name)
    if path.suffix.lower() != ".png":
        raise UsageError(f"out must be a .png, not {plain(path.name)}")
    try:
        if path.is_dir():
            raise UsageError(f"{plain(str(path))} is a folder")
        if path.exists() and any(path.samefile(one) for one in (content, *styles)):
            raise UsageError(f"{plain(str(path))} is one of the pictures to paint from")
        if out and path.exists() and not overwrite:
            raise UsageError(f"{plain(str(path))} is there already: --overwrite replaces it")
        for probe in (part_of(path), path.with_stem(f"{path.stem}_{os.getpid()}")):
            probe.touch(exist_ok=False)
            probe.unlink()
    except OSError as error:
        raise Unwritable(path.parent if error.errno != ENAMETOOLONG else path, error) from error
    return path


def clipped(text: str, most: int) -> str:
    """A text of at most so many bytes, which is what file systems count."""
    return text.encode()[:most].decode(errors="ignore")


def save(path: Path, image: Image.Image, about: dict[str, Any], *, overwrite: bool) -> Path:
    """A PNG with `about` as JSON in its text, whole, and where it is: behind the name comes _2, _3, ... where a file is
    there that may not be replaced."""
    text = PngImagePlugin.PngInfo()
    text.add_text(CHUNK, json.dumps(about, allow_nan=False))
    write = partial(image.save, format="PNG", pnginfo=text)
    if not overwrite:
        return write_new(path, write)
    write_whole(path, write)
    return path


def about(path: str) -> dict[str, Any]:
    """What a picture says of how `stylize` made it. Raises CnnlabError for one that says nothing."""
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            text = str(opened.info.get(CHUNK, ""))[:MOST_TEXT]  # the pixels stay undecoded
        found = json.loads(text) if text else None
        if not isinstance(found, dict) or not {"settings", "steps", "sha256"} <= found.keys():
            raise ValueError("there is no record in it")
    except FileNotFoundError:
        raise CnnlabError(f"no picture {plain(path)}") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise CnnlabError(f"{plain(path)} does not say how it was made: {plain(reason(error))[:200]}") from error
    return found
