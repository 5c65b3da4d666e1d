"""A baseline without learned features, after the chapter's introduction: handmade filters, like
those of Viola and Jones and the edge detectors of figure 5-5, and a linear classifier."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.models.layers import ImageShape, named_sequential


def sobel_kernels() -> Tensor:
    """Return (4, 3, 3) detectors of edges down, across and along both diagonals (Sobel & Feldman
    1968)."""
    down = torch.tensor([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]])
    slant = torch.tensor([[0.0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
    return torch.stack((down, down.t(), slant, slant.flip(1))) / 8


def haar_kernels(size: int) -> Tensor:
    """Return (5, size, size) differences between rectangles (Viola & Jones 2001): two side by side,
    two above each other, three each way, and four as on a chessboard. `size` is a multiple of 4."""
    at = (torch.arange(size) + 0.5) / size
    edge = torch.where(at < 0.5, 1.0, -1.0)
    line = torch.where((at - 0.5).abs() < 0.25, 1.0, -1.0)
    flat = torch.ones(size)
    pairs = ((flat, edge), (edge, flat), (flat, line), (line, flat), (edge, edge))
    return torch.stack([torch.outer(a, b) for a, b in pairs]) / size**2


class FixedFilterBank(nn.Module):
    """(N, depth, H, W) -> (N, features): the averages over `cells` x `cells` parts of the image of
    every channel, and of the positive and negative parts of its response to every filter."""

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
        gray = x.reshape(n * depth, 1, height, width)
        maps = [gray]
        for _, bank in self.named_buffers():
            response = F.conv2d(gray, bank.to(x.dtype), padding=bank.shape[-1] // 2)
            maps += [response.relu(), (-response).relu()]
        averages = (F.adaptive_avg_pool2d(channels, self.cells) for channels in maps)
        return torch.cat([average.reshape(n, -1) for average in averages], 1)


def fixed_filters(shape: ImageShape, classes: int, *, cells: int) -> nn.Sequential:
    """Build (N, *shape) images -> (N, classes) logits: 29 averages a channel and cell, normalized
    by their batch (by running moments in evaluation), and a linear classifier, the only part that
    learns. Raises ValueError for more cells than pixels."""
    if not 1 <= cells <= min(shape[1:]):
        pixels = f"the image's {min(shape[1:])} pixels"
        raise ValueError(f"cells must be between 1 and {pixels}, not {cells}")
    filters = FixedFilterBank(cells)
    features = shape[0] * (1 + 2 * sum(len(bank) for bank in filters.buffers())) * cells**2
    return named_sequential(
        filters=filters,
        norm=nn.BatchNorm1d(features, affine=False),
        output=nn.Linear(features, classes),
    )


def line_kernel(direction: str) -> tuple[Tensor, bool]:
    """Return (1, 3, 3) that detects a light line between dark sides, after figure 5-6, and True.
    The weights sum to 0."""
    upright = torch.tensor([[-1.0, 2, -1]] * 3)
    slant = torch.tensor([[-1.0, -1, 2], [-1, 2, -1], [2, -1, -1]])
    kernels = {"vertical": upright, "horizontal": upright.t(), "diagonal": slant}
    return kernels[direction].unsqueeze(0), True


# Filters by name: (K, e, e) weights, and whether each is applied alone (lines) or their joint
# magnitude is taken (edges).
HANDMADE_FILTERS: dict[str, Callable[[], tuple[Tensor, bool]]] = {
    "vertical": lambda: line_kernel("vertical"),
    "horizontal": lambda: line_kernel("horizontal"),
    "diagonal": lambda: line_kernel("diagonal"),
    "sobel": lambda: (sobel_kernels()[[1, 0]], False),
}


def draw_toy_image() -> Tensor:
    """Return (24, 24) in 0..1: white vertical, horizontal and diagonal lines on black, after the
    chapter's figure 5-5."""
    image = torch.zeros(24, 24)
    image[3:21, 4] = image[3, 4:14] = image[12, 4:12] = image[20, 4:14] = 1
    for i in range(9):
        image[4 + i, 22 - i] = 1
    image[14:21, 20] = 1
    return image
