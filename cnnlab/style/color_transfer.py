"""Color transfer for neural style (Gatys et al. 2016, "Preserving color in neural artistic style
transfer")."""

import torch
from torch import Tensor

# Rec. 601 luma and two chroma axes, the paper's YIQ.
RGB_TO_YIQ = (
    (0.299, 0.587, 0.114),
    (0.595716, -0.274453, -0.321263),
    (0.211456, -0.522591, 0.311135),
)
COLOR_BLOCK_PIXELS = 1 << 18  # pixels converted to float64 at once


def color_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the channels' mean (3, 1) and covariance (3, 3) of (1, 3, H, W), in float64."""
    pixels = x.flatten(2).squeeze(0)
    mean = pixels.mean(1, keepdim=True, dtype=torch.float64)
    centered = (block - mean for block in pixels.split(COLOR_BLOCK_PIXELS, 1))
    total = sum((block @ block.T for block in centered), torch.zeros_like(mean @ mean.T))
    return mean, total / pixels.shape[1]


def symmetric_matrix_power(matrix: Tensor, power: float) -> Tensor:
    """Return a symmetric matrix without negative eigenvalues to a power.

    They are floored at 1e-5 where the power is negative, and at 0 otherwise: a gray image has two
    of 0, and what is given its colors has to become gray.
    """
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(1e-5 if power < 0 else 0.0) ** power) @ vectors.T


def match_colors(style: Tensor, content: Tensor) -> Tensor:
    """Return the style image with the content image's color mean and covariance, in 0..1.

    The symmetric solution of the paper's section 3. Both (1, 3, H, W).
    """
    (style_mean, style_cov), (mean, cov) = color_moments(style), color_moments(content)
    transform = symmetric_matrix_power(cov, 0.5) @ symmetric_matrix_power(style_cov, -0.5)
    result = style.clone(memory_format=torch.contiguous_format)
    for block in result.view(3, -1).split(COLOR_BLOCK_PIXELS, 1):
        block.copy_((transform @ (block - style_mean) + mean).clamp_(0, 1))
    return result


def luminance(x: Tensor) -> Tensor:
    """Return the luminance of (1, 3, H, W), (1, 1, H, W)."""
    return (x * x.new_tensor(RGB_TO_YIQ[0]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def luminance_as_rgb(x: Tensor) -> Tensor:
    """Return the luminance as three equal channels."""
    return luminance(x).expand(-1, 3, -1, -1).contiguous()


def match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """Return the style image's luminance with the content image's mean and standard deviation.

    Three equal channels in 0..1.
    """
    source, target = luminance(style), luminance(content)
    normalized = (source - source.mean()) / source.std().clamp_min(1e-5)
    matched = normalized * target.std() + target.mean()
    return matched.clamp(0, 1).expand(-1, 3, -1, -1).contiguous()


def restore_content_colors(stylized: Tensor, content: Tensor) -> Tensor:
    """Return the stylized image's luminance with the content image's chroma (section 4)."""
    basis = stylized.new_tensor(RGB_TO_YIQ)
    chroma = torch.einsum("ij,njhw->nihw", basis, content)[:, 1:]
    yiq = torch.cat([luminance(stylized), chroma], 1)
    return torch.einsum("ij,njhw->nihw", torch.linalg.inv(basis), yiq).clamp(0, 1)
