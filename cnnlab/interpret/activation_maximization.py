"""The input that excites a part of a network most (Erhan et al. 2009; Olah, Mordvintsev & Schubert 2017)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ScoreFunction = Callable[
    [Tensor], Tensor
]  # (N, C, H, W) in 0..1 -> (N,): what each picture is to make large


def maximize_activation(
    score: ScoreFunction,
    size: tuple[int, int, int, int],
    device: torch.device,
    *,
    steps: int,
    lr: float,
    jitter: int,
    smoothness: Tensor,
    seed: int,
) -> Tensor:
    """N pictures of `size` (N, C, H, W), in 0..1, each of which makes its own score large.

    A picture is the sigmoid of a sum of grids, each twice as fine as the one before, so that coarse shapes move as
    easily as single pixels; Adam climbs; in each step it is moved by up to `jitter` pixels either way, and (N,)
    `smoothness` times its total variation a pixel is taken off its score. Pictures do not depend on their neighbours.
    Raises ValueError where a score becomes not finite.
    """
    rng = torch.Generator().manual_seed(seed)
    grids = [
        torch.zeros(shape, device=device, requires_grad=True) for shape in list_grid_sizes(size)
    ]
    with torch.no_grad():
        grids[-1].copy_(0.05 * torch.randn(size[1:], generator=rng))  # the same for each
    optimizer = torch.optim.Adam(grids, lr=lr, foreach=True)
    for _ in range(steps):
        pixels = grids_to_images(grids, size)
        down, across = (
            torch.randint(-jitter, jitter + 1, (2,), generator=rng).tolist() if jitter else (0, 0)
        )
        gain = score(pixels.roll((down, across), (2, 3))) - smoothness * mean_total_variation(
            pixels
        )
        if not torch.isfinite(gain).all():
            raise ValueError("the score is not finite; a smaller lr often helps")
        optimizer.zero_grad()
        (-gain.sum()).backward()
        optimizer.step()
    return grids_to_images(grids, size).detach()


@contextmanager
def use_leaky_relu_gradients(layer: nn.Module, slope: float = 0.1) -> Iterator[None]:
    """While it lasts, a gradient passes the ReLUs in a layer where they give zero, times `slope`, so that what is
    silent at first can be woken; what they give stays as it is. (Olah et al. 2017 let all of it pass, at first.)"""

    def through(module: nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
        leaky = F.leaky_relu(given[0], slope)
        return out.detach() + leaky - leaky.detach()

    handles = [
        one.register_forward_hook(through) for one in layer.modules() if isinstance(one, nn.ReLU)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def list_grid_sizes(size: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Sizes of grids up to a picture's, the coarsest at least 3 pixels."""
    n, depth, height, width = size
    sizes = [size]
    while min(height, width) >= 6:
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((n, depth, height, width))
    return sizes[::-1]


def grids_to_images(grids: Sequence[Tensor], size: tuple[int, int, int, int]) -> Tensor:
    """The sum of grids, each stretched to `size`, pressed into 0..1."""
    return (
        torch.stack([F.interpolate(grid, size[2:], mode="bilinear") for grid in grids])
        .sum(0)
        .sigmoid()
    )


def mean_total_variation(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N,) the mean magnitude of steps between neighbouring pixels, across and down."""
    across, down = x.diff(dim=3).abs().mean((1, 2, 3)), x.diff(dim=2).abs().mean((1, 2, 3))
    return across + down
