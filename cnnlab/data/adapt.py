"""A user's own images, fitted to the shape and polarity of a data set's."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnnlab.core.image import resize_center_crop


def adapt_image(
    image: Image.Image, shape: tuple[int, int, int], *, light_on_dark: bool
) -> tuple[Tensor, list[str]]:
    """An image as the run's data set has them, (C, H, W) uint8, and what had to be done to it, in words.

    Data that are light strokes on dark: dark on light is inverted, and what is not square is padded with its
    border's shade. Other data: the short side is resized and the center cropped, as `dataset=folder` does.
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
        how = (
            ("padded, " if light_on_dark else "its center ")
            if image.width * height != image.height * width
            else ""
        )
        changes.append(f"{image.width}x{image.height} {how}resized to {width}x{height}")
        fill = shade if depth == 1 else (shade,) * 3
        # Shrinking averages the pixels that fall together, so that nothing is invented at the strokes' edges.
        method = (
            Image.Resampling.BOX
            if min(image.size) > max(width, height)
            else Image.Resampling.BICUBIC
        )
        if light_on_dark:
            image = ImageOps.pad(image, (width, height), method=method, color=fill)
        else:
            image = (
                resize_center_crop(image, width)
                if width == height
                else ImageOps.fit(image, (width, height), method=method)
            )
    pixels = torch.from_numpy(np.array(image)).view(height, width, depth)
    return pixels.permute(2, 0, 1), changes


def measure_border_shade(image: Image.Image) -> int:
    """The median shade of an image's outermost pixels, 0..255."""
    gray = np.asarray(image.convert("L"))
    return int(np.median(np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])))
