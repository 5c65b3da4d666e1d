"""Whose colours a painted photograph has (Gatys et al. 2016, "Preserving color in neural artistic style transfer")."""

import torch
from torch import Tensor

# Rec. 601 luma and two differences of colours, as the paper's YIQ has them.
RGB_TO_YIQ = (
    (0.299, 0.587, 0.114),
    (0.595716, -0.274453, -0.321263),
    (0.211456, -0.522591, 0.311135),
)


COLOR_BLOCK_PIXELS = 1 << 18  # pixels that are float64 at once


def color_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """(1, 3, H, W) -> the channels' mean (3, 1) and covariance (3, 3), in float64."""
    pixels = x.flatten(2).squeeze(0)
    mean = pixels.mean(1, keepdim=True, dtype=torch.float64)
    away = (block - mean for block in pixels.split(COLOR_BLOCK_PIXELS, 1))
    return mean, sum((one @ one.T for one in away), torch.zeros_like(mean @ mean.T)) / pixels.shape[
        1
    ]


def symmetric_matrix_power(matrix: Tensor, power: float) -> Tensor:
    """A symmetric matrix to a power; what is nearly singular is kept from exploding."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(1e-5) ** power) @ vectors.T


def match_colors(style: Tensor, content: Tensor) -> Tensor:
    """The painting with the photograph's mean colour and covariance of colours (the paper's section 3, the
    symmetric solution), cut off at 0 and 1. (1, 3, H, W) both."""
    (ours, spread), (theirs, wanted) = color_moments(style), color_moments(content)
    turn = symmetric_matrix_power(wanted, 0.5) @ symmetric_matrix_power(spread, -0.5)
    found = style.clone(memory_format=torch.contiguous_format)
    for block in found.view(3, -1).split(COLOR_BLOCK_PIXELS, 1):
        block.copy_((turn @ (block - ours) + theirs).clamp_(0, 1))
    return found


def luminance(x: Tensor) -> Tensor:
    """(1, 3, H, W) -> (1, 1, H, W)."""
    return (x * x.new_tensor(RGB_TO_YIQ[0]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def luminance_as_rgb(x: Tensor) -> Tensor:
    """Luminance as three equal channels."""
    return luminance(x).expand(-1, 3, -1, -1).contiguous()


def match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """The painting's luminance with the photograph's mean and spread, as three equal channels."""
    ours, theirs = luminance(style), luminance(content)
    moved = (ours - ours.mean()) / ours.std().clamp_min(1e-5) * theirs.std() + theirs.mean()
    return moved.clamp(0, 1).expand(-1, 3, -1, -1).contiguous()


def restore_content_colors(stylized: Tensor, content: Tensor) -> Tensor:
    """What was painted, in the photograph's colours: its luminance, and the photograph's two differences (the paper's
    section 4)."""
    basis = stylized.new_tensor(RGB_TO_YIQ)
    chroma = torch.einsum("ij,njhw->nihw", basis, content)[:, 1:]
    both = torch.cat([luminance(stylized), chroma], 1)
    return torch.einsum("ij,njhw->nihw", torch.linalg.inv(basis), both).clamp(0, 1)
