"""Scales that make the terms of a style loss comparable, whatever the images and their size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.style.color_statistics import ColorTarget
from cnnlab.style.gram import gram_distance
from cnnlab.style.wasserstein import wasserstein_distance

LayerTensors = Mapping[str, Tensor]
TermScales = tuple[Tensor, dict[str, Tensor]]  # of content, and of each style layer


@dataclass(frozen=True)
class TransferTargets:
    """What the output image is compared with.

    P: the content image's maps at the content layer; `unrelated_distance`: the mean squared
    distance there of a position of the content image and one of the style images; A and
    `content_grams`: Gram matrices by layer of the style images and of the content image; `colors`:
    those of the style images.
    """

    P: Tensor
    unrelated_distance: Tensor
    A: LayerTensors
    content_grams: LayerTensors
    colors: ColorTarget


def raw_scales(targets: TransferTargets) -> TermScales:
    """Return the chapter's scales: content 1 (no half), style 1 / (4 k^2) / L.

    L style layers of k filters each.
    """
    style_scales = {
        name: A.new_tensor(1 / (4 * A.shape[0] ** 2 * len(targets.A)))
        for name, A in targets.A.items()
    }
    return targets.P.new_tensor(1.0), style_scales


def relative_scales(targets: TransferTargets) -> TermScales:
    """Return scales that make each term relative to its value for an unrelated image.

    Style, by layer: 1 / L for the content image itself, 0 for the style image. Content: 0 for the
    content image, 1 for the mean distance of unrelated positions of content and style image.
    """
    style_scales = {}
    for name, A in targets.A.items():
        distance = gram_distance(A, targets.content_grams[name])
        style_scales[name] = 1 / (len(targets.A) * floor_distance(distance, A.square().sum()))
    return scale_content(targets), style_scales


def scale_content(targets: TransferTargets) -> Tensor:
    """Return the scale of content: 1 over the summed distance of unrelated positions."""
    P = targets.P.flatten(2).squeeze(0)
    unrelated = floor_distance(targets.unrelated_distance, P.square().sum(0).mean())
    return 1 / (unrelated * P.shape[1])


def gaussian_scales(targets: TransferTargets, block_weights: Sequence[float]) -> TermScales:
    """Return scales of Wasserstein distances: each layer's relative to the power E|f|^2 of the
    style images' features, times its block's weight; their sum relative to the content image's.

    Content: as `relative_scales`.
    """
    scales, distances = {}, []
    weights = {name: block_weights[int(name[4]) - 1] for name in targets.A}  # relu3_1: of block 3
    for name, A in targets.A.items():
        power = A[:-1, :-1].trace()
        scales[name] = weights[name] / floor_distance(power, power)
        distances.append(scales[name] * wasserstein_distance(targets.content_grams[name], A))
    total = floor_distance(torch.stack(distances).sum(), power.new_tensor(sum(weights.values())))
    content_scale = scale_content(targets)
    return content_scale, {name: scale / total for name, scale in scales.items()}


@dataclass(frozen=True)
class FeatureSpread:
    """The mean (K,) and the trace of the covariance of a layer's positions."""

    mean: Tensor
    trace: Tensor


def measure_feature_spread(maps: Tensor) -> FeatureSpread:
    """Return the spread over the positions of (1, K, H, W)."""
    positions = maps.flatten(2).squeeze(0)
    return FeatureSpread(positions.mean(1), positions.var(1, correction=0).sum())


def mean_pair_distance(p: FeatureSpread, s: FeatureSpread) -> Tensor:
    """Return the mean squared distance over all pairs of positions of two images.

    E|p - s|^2 = tr cov P + tr cov S + |mean P - mean S|^2.
    """
    return p.trace + s.trace + (p.mean - s.mean).square().sum()


def floor_distance(distance: Tensor, size: Tensor) -> Tensor:
    """Return a squared distance, at least a millionth of what it is between: a safe divisor."""
    return torch.maximum(distance, 1e-6 * size + 1e-12)
