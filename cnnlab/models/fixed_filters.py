"""A baseline without learning of features, in the spirit of the chapter's beginning: filters written by hand, as Viola
and Jones's and the edge detectors of figure 5-5 are, and a linear classifier on what they say."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.models.layers import ImageShape, named_sequential


def sobel_kernels() -> Tensor:
    """(4, 3, 3): edges down, across and along both diagonals (Sobel & Feldman 1968)."""
    down = torch.tensor([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]])
    slant = torch.tensor([[0.0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
    return torch.stack((down, down.t(), slant, slant.flip(1))) / 8


def haar_kernels(size: int) -> Tensor:
    """(5, size, size): Viola and Jones's (2001) differences between rectangles: two side by side, two above each other,
    three each way, and four as on a chessboard. `size` is a multiple of 4."""
    at = (torch.arange(size) + 0.5) / size
    edge = torch.where(at < 0.5, 1.0, -1.0)
    line = torch.where((at - 0.5).abs() < 0.25, 1.0, -1.0)
    flat = torch.ones(size)
    pairs = ((flat, edge), (edge, flat), (flat, line), (line, flat), (edge, edge))
    return torch.stack([torch.outer(a, b) for a, b in pairs]) / size**2


class FixedFilterBank(nn.Module):
    """(N, depth, H, W) -> (N, features): every channel under every filter, what is above zero and what is below apart,
    each averaged over `cells` x `cells` parts of the picture, beside the channels' own averages."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells
        for name, bank in (
            ("sobel", sobel_kernels()),
            ("haar_4", haar_kernels(4)),
            ("haar_8", haar_kernels(8)),
        ):
            self.register_buffer(name, bank.unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        n, depth, height, width = x.shape
        grey = x.reshape(n * depth, 1, height, width)
        maps = [grey]
        for _, bank in self.named_buffers():
            answer = F.conv2d(grey, bank.to(x.dtype), padding=bank.shape[-1] // 2)
            maps += [answer.relu(), (-answer).relu()]
        return torch.cat([F.adaptive_avg_pool2d(one, self.cells).reshape(n, -1) for one in maps], 1)


def fixed_filters(shape: ImageShape, classes: int, *, cells: int) -> nn.Sequential:
    """(N, *shape) pictures -> (N, classes) logits: 29 hand-written averages a channel and cell, brought to mean 0 and
    variance 1 by their batch (by running moments when it is judged), and a linear classifier, the only part that
    learns. Raises ValueError for more cells than pixels."""
    if not 1 <= cells <= min(shape[1:]):
        raise ValueError(
            f"cells must be between 1 and the picture's {min(shape[1:])} pixels, not {cells}"
        )
    filters = FixedFilterBank(cells)
    features = shape[0] * (1 + 2 * sum(len(bank) for bank in filters.buffers())) * cells**2
    return named_sequential(
        filters=filters,
        norm=nn.BatchNorm1d(features, affine=False),
        output=nn.Linear(features, classes),
    )


def line_kernel(direction: str) -> tuple[Tensor, bool]:
    """(1, 3, 3): a light line between darker sides, as the detectors of figure 5-6 find one; sums to 0."""
    upright = torch.tensor([[-1.0, 2, -1]] * 3)
    slant = torch.tensor([[-1.0, -1, 2], [-1, 2, -1], [2, -1, -1]])
    return {"vertical": upright, "horizontal": upright.t(), "diagonal": slant}[direction].unsqueeze(
        0
    ), True


# Filters by name: (K, e, e) weights, and whether each is looked for (lines) or their joint strength is (edges).
HANDMADE_FILTERS: dict[str, Callable[[], tuple[Tensor, bool]]] = {
    "vertical": lambda: line_kernel("vertical"),
    "horizontal": lambda: line_kernel("horizontal"),
    "diagonal": lambda: line_kernel("diagonal"),
    "sobel": lambda: (sobel_kernels()[[1, 0]], False),
}


def draw_toy_image() -> Tensor:
    """(24, 24) in 0..1: white lines on black, upright, level and slanted, in the spirit of the chapter's figure 5-5."""
    picture = torch.zeros(24, 24)
    picture[3:21, 4] = picture[3, 4:14] = picture[12, 4:12] = picture[20, 4:14] = 1
    for i in range(9):
        picture[4 + i, 22 - i] = 1
    picture[14:21, 20] = 1
    return picture
