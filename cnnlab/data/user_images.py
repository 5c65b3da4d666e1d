"""Read a user's own images, adapted to the shape and polarity of a data set."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import read_image, resize_center_crop
from cnnlab.core.quoting import printable
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


def read_user_image(
    path: str | Path, shape: tuple[int, int, int], *, light_on_dark: bool
) -> tuple[Tensor, list[str]]:
    """Return an image file as (C, H, W) uint8 of a data set's shape, and the changes made to it.

    Raises CnnlabError if it is unreadable.
    """
    image = read_image(path, target_side=None if light_on_dark else min(shape[1:]))
    return adapt_image(image, shape, light_on_dark=light_on_dark)


def adapt_image(
    image: Image.Image, shape: tuple[int, int, int], *, light_on_dark: bool
) -> tuple[Tensor, list[str]]:
    """Return an image as (C, H, W) uint8 of a data set's shape, and the changes made, in words.

    For data sets of light strokes on dark, an image of dark strokes on light is inverted, and one
    of another aspect ratio is padded with the shade of its border. For others, the short side is
    resized and the center cropped, as `dataset=folder` does.
    """
    depth, height, width = shape
    changes = []
    if image.mode != ("L" if depth == 1 else "RGB"):
        changes.append("made gray" if depth == 1 else "made RGB")
        image = image.convert("L" if depth == 1 else "RGB")
    shade = measure_border_shade(image)
    if light_on_dark and shade > 127:
        changes.append("inverted")
        image, shade = ImageOps.invert(image), 255 - shade
    if image.size != (width, height):
        changes.append(describe_resize(image.size, (width, height), light_on_dark))
        fill = shade if light_on_dark else None
        image = resize_to_fit(image, (width, height), fill)
    pixels = torch.from_numpy(np.array(image)).view(height, width, depth)
    return pixels.permute(2, 0, 1), changes


def describe_resize(size: tuple[int, int], target: tuple[int, int], light_on_dark: bool) -> str:
    """Return in words how an image of (width, height) `size` is resized to `target`."""
    (width, height), (target_width, target_height) = size, target
    method = ""
    if width * target_height != height * target_width:
        method = "padded, " if light_on_dark else "its center "
    return f"{width}x{height} {method}resized to {target_width}x{target_height}"


def resize_to_fit(image: Image.Image, size: tuple[int, int], fill: int | None) -> Image.Image:
    """Return an image resized to (width, height) `size`: padded with the shade `fill` to its aspect
    ratio, or center-cropped for None."""
    # To shrink, average pixels: other filters overshoot at the edges of strokes.
    shrinks = min(image.size) > max(size)
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    if fill is not None:
        color = fill if image.mode == "L" else (fill,) * 3
        return ImageOps.pad(image, size, method=method, color=color)
    if size[0] == size[1]:
        return resize_center_crop(image, size[0])
    return ImageOps.fit(image, size, method=method)


def measure_border_shade(image: Image.Image) -> int:
    """Return the median gray level of an image's outermost pixels, 0 to 255."""
    gray = np.asarray(image.convert("L"))
    return int(np.median(np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])))
