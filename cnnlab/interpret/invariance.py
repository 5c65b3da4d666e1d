"""Measure how much a layer's outputs change when the input images are shifted, rotated or
darkened."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def shift_images(images: Tensor, pixels: int) -> list[Tensor]:
    """Return (N, C, H, W) images shifted right, down, left and up; the border repeats the edge."""
    if not pixels:
        return [images]
    height, width = images.shape[2:]
    padded = F.pad(images, (pixels,) * 4, mode="replicate")
    corners = ((pixels, 0), (0, pixels), (pixels, 2 * pixels), (2 * pixels, pixels))
    return [padded[..., top : top + height, left : left + width] for top, left in corners]


def rotate_images(images: Tensor, degrees: float) -> list[Tensor]:
    """Return images rotated both ways about their center, bilinear; the border repeats the edge."""
    return [
        rotate_image_batch(images, angle) for angle in ((degrees, -degrees) if degrees else (0.0,))
    ]


def rotate_image_batch(images: Tensor, degrees: float) -> Tensor:
    angle = torch.tensor(degrees * torch.pi / 180)
    aspect = images.shape[2] / images.shape[3]  # grid_sample's coordinates are -1..1 on both axes
    matrix = torch.tensor(
        [[angle.cos(), -angle.sin() * aspect, 0], [angle.sin() / aspect, angle.cos(), 0]]
    ).to(images)
    size = list(images.shape)
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), size, align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def darken_images(images: Tensor, fraction: float) -> list[Tensor]:
    """Return images with every pixel darkened by a fraction, 0..1."""
    return [images * (1 - fraction)]


TRANSFORMATIONS: dict[str, Callable[[Tensor, float], list[Tensor]]] = {
    "shift": lambda images, pixels: shift_images(images, int(pixels)),
    "rotation": rotate_images,
    "darkening": darken_images,
}
TRANSFORMATION_UNITS = {
    "shift": "pixels",
    "rotation": "degrees",
    "darkening": "fraction of the light removed",
}


def mean_output_distance(first: Tensor, second: Tensor) -> float:
    """Return the Euclidean distance between (N, ...) outputs, the mean over the images."""
    a, b = (out.flatten(1).cpu().double() for out in (first, second))
    return float((a - b).norm(dim=1).mean())


def relative_output_distance(before: Tensor, after: Tensor, reference: float) -> float:
    """Return the mean distance between outputs over the `reference` distance between different
    images: 0 where nothing changed, 1 where an output moved as far as another image's is. 0, too,
    where the layer's output is constant."""
    return mean_output_distance(before, after) / reference if reference else 0.0


def unchanged_fraction(
    before: Tensor, after: Tensor, largest: float, tolerance: float = 0.05
) -> float:
    """Return the fraction of outputs that changed by at most `tolerance` times their layer's
    `largest` magnitude."""
    return float(((before - after).abs() <= tolerance * largest).float().mean())
