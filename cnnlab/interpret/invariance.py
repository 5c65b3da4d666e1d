"""How much a network's layers change as what they are shown moves, turns, or darkens."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def shift_images(pictures: Tensor, pixels: int) -> list[Tensor]:
    """(N, C, H, W) in 0..1 -> the same moved right, down, left and up; what comes in repeats the edge."""
    if not pixels:
        return [pictures]
    height, width = pictures.shape[2:]
    wide = F.pad(pictures, (pixels,) * 4, mode="replicate")
    corners = ((pixels, 0), (0, pixels), (pixels, 2 * pixels), (2 * pixels, pixels))
    return [wide[..., top : top + height, left : left + width] for top, left in corners]


def rotate_images(pictures: Tensor, degrees: float) -> list[Tensor]:
    """The same turned either way about the centre, bilinear; what comes in repeats the edge."""
    turned = []
    for angle in (degrees, -degrees) if degrees else (0.0,):
        a = torch.tensor(angle * torch.pi / 180)
        tall = (
            pictures.shape[2] / pictures.shape[3]
        )  # the grid is as wide as it is high, whatever the picture
        matrix = torch.tensor([[a.cos(), -a.sin() * tall, 0], [a.sin() / tall, a.cos(), 0]]).to(
            pictures
        )
        grid = F.affine_grid(
            matrix.expand(len(pictures), 2, 3), list(pictures.shape), align_corners=False
        )
        turned.append(F.grid_sample(pictures, grid, padding_mode="border", align_corners=False))
    return turned


def darken_images(pictures: Tensor, share: float) -> list[Tensor]:
    """The same with every pixel taken towards black by a share, 0..1."""
    return [pictures * (1 - share)]


TRANSFORMATIONS: dict[str, Callable[[Tensor, float], list[Tensor]]] = {
    "shift": lambda x, amount: shift_images(x, int(amount)),
    "rotation": rotate_images,
    "darkening": darken_images,
}
TRANSFORMATION_UNITS = {
    "shift": "pixels",
    "rotation": "degrees",
    "darkening": "share of the light taken away",
}


def mean_output_distance(one: Tensor, other: Tensor) -> float:
    """The mean over pictures of the Euclidean distance between (N, ...) outputs."""
    a, b = (out.flatten(1).cpu().double() for out in (one, other))
    return float((a - b).norm(dim=1).mean())


def relative_output_distance(before: Tensor, after: Tensor, others: float) -> float:
    """How far outputs are `apart`, over how far those of different pictures are: 0 where nothing changed, 1 where a
    picture's output moved as far as another picture is. 0, too, of a layer that says the same of every picture."""
    return mean_output_distance(before, after) / others if others else 0.0


def unchanged_fraction(
    before: Tensor, after: Tensor, largest: float, tolerance: float = 0.05
) -> float:
    """The share of outputs that stayed within `tolerance` of their layer's largest magnitude."""
    return float(((before - after).abs() <= tolerance * largest).float().mean())
