"""How far an image's colors are from those of the style images.

Gram matrices hardly depend on directions in which colors vary little: optimized images had up to
twice the style image's standard deviation between green and magenta, in colors of neither source.
Here the distribution of nine features of a pixel's color, its coordinates and their products, is
taken as a Gaussian: a divergence measures every direction by the style image's own deviation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from cnnlab.style.color_transfer import COLOR_BLOCK_PIXELS, RGB_TO_YIQ

YIQ_DEVIATIONS = (0.25, 0.1, 0.05)  # of photographs and paintings, roughly: the features' units
VARIANCE_FLOOR = 0.01  # added to every feature's variance, for grays and images of one color


@dataclass(frozen=True)
class ColorMoments:
    """The mean (9,) and the covariance (9, 9) of the features of an image's colors."""

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class ColorTarget:
    """The style images' moments, the inverse of the covariance, and the log of its determinant."""

    moments: ColorMoments
    precision: Tensor
    log_determinant: Tensor


def color_features(pixels: Tensor) -> Tensor:
    """Return (9, N) of RGB (3, N): Y, I and Q in units of their deviations, and their products."""
    to_yiq = scaled_yiq(pixels.device, pixels.dtype)
    features = pixels.new_empty(9, pixels.shape[1])
    yiq = torch.mm(to_yiq, pixels, out=features[:3]).sub_(to_yiq.sum(1, keepdim=True) / 2)
    torch.mul(yiq, yiq, out=features[3:6])
    torch.mul(yiq, yiq.roll(1, 0), out=features[6:])
    return features


def backpropagate_features(features: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient (3, N) of RGB from that of its features, both (9, N)."""
    yiq = features[:3]
    linear, squares, products = gradient[:3], gradient[3:6], gradient[6:]
    total = torch.addcmul(linear, yiq, squares, value=2)
    total.addcmul_(products, yiq.roll(1, 0)).add_((products * yiq).roll(-1, 0))
    return scaled_yiq(features.device, features.dtype).T @ total


@cache
def scaled_yiq(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the matrix (3, 3) from RGB to Y, I and Q in units of their deviations.

    Once for each device: the host waits for a GPU while it copies numbers there.
    """
    rgb_to_yiq = torch.tensor(RGB_TO_YIQ, device=device, dtype=dtype)
    return rgb_to_yiq / torch.tensor(YIQ_DEVIATIONS, device=device, dtype=dtype).unsqueeze(1)


class MeasureMoments(torch.autograd.Function):
    """(1, 3, H, W) -> mean (9,) and covariance (9, 9) of its color features.

    `weights`: (1, 1, H, W) of the pixels, which add up to 1; None: all alike.
    In blocks of pixels: the features of all would need more memory than the rest of a step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        total = x[0, 0].numel() if weights is None else 1
        mean, covariance = x.new_zeros(9), x.new_zeros(9, 9)
        for block, block_weights in split_pixels(x, weights):
            mean += weigh(color_features(block), block_weights).sum(1) / total
        for block, block_weights in split_pixels(x, weights):
            centered = color_features(block).sub_(mean.unsqueeze(1))
            covariance += weigh(centered, block_weights) @ centered.T / total
        ctx.save_for_backward(x, mean)
        ctx.weights = weights
        return mean, covariance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x, mean), (mean_gradient, covariance_gradient) = ctx.saved_tensors, gradients
        # The mean's own part of the covariance's gradient is 0: deviations add up to 0.
        total = x[0, 0].numel() if ctx.weights is None else 1
        factor = (covariance_gradient + covariance_gradient.T) / total
        constant = mean_gradient / total - factor @ mean
        parts = list[Tensor]()
        for block, block_weights in split_pixels(x, ctx.weights):
            features = color_features(block)
            gradient = torch.addmm(constant.unsqueeze(1), factor, features)
            parts.append(backpropagate_features(features, weigh(gradient, block_weights)))
        return torch.cat(parts, 1).view(x.shape), None


def split_pixels(x: Tensor, weights: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield an image's pixels (3, n) and their weights (n,) in blocks."""
    blocks = x.flatten(2)[0].split(COLOR_BLOCK_PIXELS, 1)
    if weights is None:
        return zip(blocks, repeat(None))
    return zip(blocks, weights.flatten().split(COLOR_BLOCK_PIXELS), strict=True)


def weigh(features: Tensor, weights: Tensor | None) -> Tensor:
    """Return the features (9, n) of pixels times the pixels' weights, if there are any."""
    return features if weights is None else features * weights


def measure_color_moments(x: Tensor, weights: Tensor | None = None) -> ColorMoments:
    """Return the moments of the colors of (1, 3, H, W) in 0..1; variances are floored.

    `weights`: (1, 1, H, W) of the pixels, which add up to 1; None: all alike.
    """
    mean, covariance = MeasureMoments.apply(x, weights)
    floor = torch.eye(len(mean), device=x.device, dtype=x.dtype) * VARIANCE_FLOOR
    return ColorMoments(mean, covariance + floor)


def blend_color_moments(moments: Sequence[ColorMoments], weights: Sequence[float]) -> ColorMoments:
    """Return the moments of the pixels of several images together, weighted."""
    shares = [weight / sum(weights) for weight in weights]
    pairs = list(zip(moments, shares, strict=True))
    mean = torch.stack([m.mean * share for m, share in pairs]).sum(0)
    offsets = [m.mean - mean for m in moments]
    covariance = [
        (m.covariance + torch.outer(offset, offset)) * share
        for (m, share), offset in zip(pairs, offsets, strict=True)
    ]
    return ColorMoments(mean, torch.stack(covariance).sum(0))


def make_color_target(moments: ColorMoments) -> ColorTarget:
    """Return what divergences from these moments need."""
    covariance = moments.covariance
    return ColorTarget(moments, torch.linalg.inv(covariance), log_determinant(covariance))


def log_determinant(matrix: Tensor) -> Tensor:
    """Return the log of the determinant of a positive definite matrix; no wait for a GPU."""
    return 2 * torch.linalg.cholesky_ex(matrix).L.diagonal().log().sum()


def color_divergence(x: Tensor, target: ColorTarget, weights: Tensor | None = None) -> Tensor:
    """Return the Kullback-Leibler divergence of the colors of (1, 3, H, W) from the target's.

    Of Gaussians with covariances C and S whose means differ by d:
    (tr(S^-1 C) + d^T S^-1 d - 9 - ln(det C / det S)) / 2, 0 where both are equal. `weights`:
    (1, 1, H, W) of the pixels, which add up to 1.
    """
    moments = measure_color_moments(x, weights)
    d, C = moments.mean - target.moments.mean, moments.covariance
    spread = (target.precision * C).sum() - len(d)
    return (
        spread + torch.dot(d, target.precision @ d) + target.log_determinant - log_determinant(C)
    ) / 2
