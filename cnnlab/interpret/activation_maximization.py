"""Synthesize the input that maximizes a part of a network (Erhan et al. 2009; Olah, Mordvintsev &
Schubert 2017)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (N, C, H, W) images in 0..1 -> (N,): what each image is to maximize
ScoreFunction = Callable[[Tensor], Tensor]


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
    """Return N images of `size` (N, C, H, W), in 0..1, each of which maximizes its own score.

    An image is the sigmoid of a sum of grids, each twice as fine as the one before, so that coarse
    shapes change as easily as single pixels. Adam maximizes the score; in each step the image is
    shifted by up to `jitter` pixels along each axis, and (N,) `smoothness` times its mean total
    variation is subtracted. Images do not depend on each other. Raises ValueError where a score is
    not finite.
    """
    rng = torch.Generator().manual_seed(seed)
    grids = [
        torch.zeros(shape, device=device, requires_grad=True) for shape in list_grid_sizes(size)
    ]
    with torch.no_grad():
        grids[-1].copy_(0.05 * torch.randn(size[1:], generator=rng))  # the same for each image
    optimizer = torch.optim.Adam(grids, lr=lr, foreach=True)
    for _ in range(steps):
        pixels = grids_to_images(grids, size)
        shifted = pixels.roll(draw_shift(jitter, rng), (2, 3))
        objective = score(shifted) - smoothness * mean_total_variation(pixels)
        if not torch.isfinite(objective).all():
            raise ValueError("the score is not finite; a smaller lr often helps")
        optimizer.zero_grad()
        (-objective.sum()).backward()
        optimizer.step()
    return grids_to_images(grids, size).detach()


def draw_shift(jitter: int, rng: torch.Generator) -> tuple[int, int]:
    """Return a random shift down and right, each from -jitter to jitter; without jitter nothing is
    drawn."""
    if not jitter:
        return 0, 0
    down, right = torch.randint(-jitter, jitter + 1, (2,), generator=rng).tolist()
    return down, right


@contextmanager
def use_leaky_relu_gradients(layer: nn.Module, slope: float = 0.1) -> Iterator[None]:
    """Let the ReLUs in a layer pass `slope` times the gradient where they would pass none, so that
    a dead unit can be activated; outputs do not change. (Olah et al. 2017 let the whole gradient
    pass, at first.)"""

    def replace_gradient(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        leaky = F.leaky_relu(inputs[0], slope)
        return output.detach() + leaky - leaky.detach()

    handles = [
        module.register_forward_hook(replace_gradient)
        for module in layer.modules()
        if isinstance(module, nn.ReLU)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def list_grid_sizes(size: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return the sizes of the grids of an image, coarsest first, each at least 3 pixels wide."""
    n, depth, height, width = size
    sizes = [size]
    while min(height, width) >= 6:
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((n, depth, height, width))
    return sizes[::-1]


def grids_to_images(grids: Sequence[Tensor], size: tuple[int, int, int, int]) -> Tensor:
    """Return the sigmoid of the sum of grids, each interpolated to `size`."""
    layers = [F.interpolate(grid, size[2:], mode="bilinear") for grid in grids]
    return torch.stack(layers).sum(0).sigmoid()


def mean_total_variation(x: Tensor) -> Tensor:
    """Return the mean absolute difference between neighboring pixels of (N, C, H, W) images, across
    plus down: (N,)."""
    across, down = x.diff(dim=3).abs().mean((1, 2, 3)), x.diff(dim=2).abs().mean((1, 2, 3))
    return across + down
