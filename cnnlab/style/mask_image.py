"""Grayscale images that say where: masks of styles, and maps of the weight of content."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable
from cnnlab.style.scales import Size
from cnnlab.style.source_image import SourceImage, has_same_aspect, read_source_image

MAX_CHANNEL_DIFFERENCE = 24  # of 255, between the channels of a gray that JPEG compressed


@dataclass(frozen=True)
class MaskImage:
    """A grayscale image of mode L, its file and its hash."""

    path: Path
    gray: Image.Image
    sha256: str

    @property
    def name(self) -> str:
        return printable(self.path.name)

    def at_size(self, size: Size) -> Tensor:
        """Return the grays (1, 1, H, W) in 0..1: means where reduced, interpolated if enlarged."""
        is_reduced = size[0] <= self.gray.height and size[1] <= self.gray.width
        method = Image.Resampling.BOX if is_reduced else Image.Resampling.BILINEAR
        resized = self.gray.resize(size[::-1], method)
        return torch.from_numpy(np.asarray(resized, np.float32)).div(255)[None, None]

    def check_aspect(self, content: SourceImage) -> None:
        """Raise UsageError for another aspect ratio than the content image's."""
        width, height = self.gray.size
        if not has_same_aspect((height, width), content.size):
            content_height, content_width = content.size
            raise UsageError(
                f"{self.name} has {width}x{height} pixels, but {printable(content.path.name)} "
                f"{content_width}x{content_height}: their aspect ratios differ\n"
                "use an image of any size with the content image's aspect ratio"
            )


def read_mask_image(name: str, max_pixels: int) -> MaskImage:
    """Return a grayscale image, black where it is transparent.

    Raises UsageError for one with colors, CnnlabError for one that cannot be read.
    """
    source = read_source_image(name, max_pixels)
    rgb, alpha = source.photo.rgb, source.photo.alpha
    gray = rgb.convert("L")
    red, green, blue = rgb.split()
    differences = [ImageChops.difference(red, other) for other in (green, blue)]
    if max(np.asarray(difference).max() for difference in differences) > MAX_CHANNEL_DIFFERENCE:
        raise UsageError(
            f"{printable(source.path.name)} has colors: a mask or map is a grayscale image\n"
            "convert it to black, white and grays"
        )
    return MaskImage(
        source.path, ImageChops.multiply(gray, alpha) if alpha else gray, source.sha256
    )


def read_masks(names: Sequence[str], max_pixels: int) -> list[MaskImage]:
    """Return masks of styles. Raises UsageError for one that is black everywhere."""
    masks = [read_mask_image(name, max_pixels) for name in names]
    for mask in masks:
        if not mask.gray.getbbox():
            raise UsageError(
                f"{mask.name} is black everywhere: no pixel would be stylized\n"
                "paint white what the style applies to"
            )
    return masks


def stack_masks(
    masks: Sequence[MaskImage], device: torch.device
) -> Callable[[Size], Tensor] | None:
    """Return size -> (R, 1, H, W) in 0..1 on the device, None without masks."""
    if not masks:
        return None
    return lambda size: torch.cat([mask.at_size(size) for mask in masks]).to(device)


def make_content_factors(
    content_map: MaskImage | None, weight: float, device: torch.device
) -> Callable[[Size], Tensor] | None:
    """Return size -> (1, 1, H, W), factors of content: 1 at black to `weight` at white.

    They are relative to that of the map's darkest pixel: a uniform map is none.
    """
    if content_map is None:
        return None
    darkest = float(np.asarray(content_map.gray).min()) / 255

    def factors(size: Size) -> Tensor:
        grays = content_map.at_size(size).to(device)
        return (1 + (weight - 1) * grays) / (1 + (weight - 1) * darkest)

    return factors
