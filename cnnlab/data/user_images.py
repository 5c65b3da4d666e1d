"""Read a user's own images, adapted to the shape and polarity of a data set."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import read_image
from cnnlab.core.image_file import MAX_PIXELS
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config
from cnnlab.data.build import parse_data_settings
from cnnlab.data.decode import ImageDecoder
from cnnlab.data.image_tree import iterate_image_files


class UnreadableImages(dict[str, str]):
    """The errors of files that were left out, by path: a command goes on without them."""

    def add(self, path: str | Path, error: CnnlabError) -> None:
        self[str(path)] = str(error)

    def raise_if_any(self) -> None:
        """Raise CnnlabError that names every file, once a command has done the others."""
        if self:
            raise CnnlabError("\ncnnlab: ".join(self.values()))


def expand_folders(names: Iterable[str], unreadable: UnreadableImages) -> list[str]:
    """Return image files, and those at any depth below a folder in its place."""
    files = []
    for name in names:
        if not Path(name).is_dir():
            files.append(name)
            continue
        files += (below := list(iterate_image_files(Path(name))))
        if not below:
            error = CnnlabError(f"no images in the folder {printable(name)}")
            unreadable.add(name, error)
    return files


@dataclass(frozen=True)
class UserImageTarget:
    """What a user's images are adapted to: the (C, H, W) `shape` of a data set.

    `is_drawing`: whether they become light strokes on dark, as a data set of drawings has them;
    all others are read as `dataset=folder` reads images to train with. `max_pixels`: of a file.
    """

    shape: tuple[int, int, int]
    is_drawing: bool = False
    max_pixels: int = MAX_PIXELS


def find_user_image_target(dataset: Config, shape: tuple[int, int, int]) -> UserImageTarget:
    """Return what a user's images are adapted to for a run with this `dataset` configuration and
    images of this (C, H, W) shape."""
    if dataset["name"] == "folder":  # which inverts and pads no image, whatever they show
        return UserImageTarget(shape, max_pixels=int(dataset["max_pixels"]))
    return UserImageTarget(shape, is_drawing=parse_data_settings(dataset).light_on_dark)


def read_user_image(path: str | Path, target: UserImageTarget) -> tuple[Tensor, list[str]]:
    """Return an image file as (C, H, W) uint8 of a data set's shape, and the changes made to it.

    Raises CnnlabError if it is unreadable.
    """
    if target.is_drawing:
        return adapt_drawing(read_image(path, max_pixels=target.max_pixels), target.shape)
    depth, height, width = target.shape
    decoder = ImageDecoder(height, depth, target.max_pixels)
    image, size = decoder.read(path)
    changes = describe_mode(image.mode, decoder.mode)
    if size != (width, height):
        changes.append(describe_resize(size, (width, height), "its center "))
    return torch.from_numpy(decoder.fit(image).copy()), changes


def adapt_drawing(image: Image.Image, shape: tuple[int, int, int]) -> tuple[Tensor, list[str]]:
    """Return an image as (C, H, W) uint8 of light strokes on dark, and the changes made, in words.

    One of dark strokes on light is inverted; one of another aspect ratio is padded with the shade
    of its border.
    """
    depth, height, width = shape
    mode = "L" if depth == 1 else "RGB"
    changes = describe_mode(image.mode, mode)
    image = image if image.mode == mode else image.convert(mode)
    shade = measure_border_shade(image)
    if shade > 127:
        changes.append("inverted")
        image, shade = ImageOps.invert(image), 255 - shade
    if image.size != (width, height):
        changes.append(describe_resize(image.size, (width, height), "padded, "))
        image = pad_to_size(image, (width, height), shade)
    pixels = torch.from_numpy(np.array(image)).view(height, width, depth)
    return pixels.permute(2, 0, 1), changes


def describe_mode(mode: str, target: str) -> list[str]:
    """Return in words that an image of a mode is converted to another; nothing if it is not."""
    return [] if mode == target else ["made gray" if target == "L" else "made RGB"]


def describe_resize(size: tuple[int, int], target: tuple[int, int], method: str) -> str:
    """Return in words how an image of (width, height) `size` is resized to `target`; by `method`
    where the aspect ratio differs."""
    (width, height), (target_width, target_height) = size, target
    method = "" if width * target_height == height * target_width else method
    return f"{width}x{height} {method}resized to {target_width}x{target_height}"


def pad_to_size(image: Image.Image, size: tuple[int, int], shade: int) -> Image.Image:
    """Return an image resized and, with a shade, padded to (width, height) `size`."""
    # To shrink, average pixels: other filters overshoot at the edges of strokes.
    shrinks = min(image.size) > max(size)
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    color = shade if image.mode == "L" else (shade,) * 3
    return ImageOps.pad(image, size, method=method, color=color)


def measure_border_shade(image: Image.Image) -> int:
    """Return the median gray level of an image's outermost pixels, 0 to 255."""
    gray = np.asarray(image.convert("L"))
    return int(np.median(np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])))
