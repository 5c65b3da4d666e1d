"""The losses of neural style (Gatys, Ecker & Bethge 2015): content distance and style distance.

Both losses here have one form, a |X - P|^2 at the content layer and, for each style layer,
b_l |A_l - G_l|^2; they differ in the scales a and b_l. Gram matrices are divided by their own
number of positions m: images may then differ in size, and at equal size it is the chapter's
formula.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from cnnlab.style.color_statistics import ColorTarget, color_divergence

LayerTensors = Mapping[str, Tensor]
TermScales = tuple[Tensor, dict[str, Tensor]]
RELU_NAME = re.compile("relu[1-5]_[1-4]")


def gram_matrix(maps: Tensor, num_positions: int | None = None) -> Tensor:
    """Return F F^T / m (K, K) of feature maps (1, K, H, W), in float32 or better.

    m = HW positions; `num_positions`: the m of the whole image that these maps are a tile of, so
    that the tiles' matrices add up to the whole image's.
    """
    columns = at_least_float32(maps).flatten(2).squeeze(0)
    return columns @ columns.T / (num_positions or columns.shape[1])


def at_least_float32(x: Tensor) -> Tensor:
    """Return half-precision tensors as float32, others unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def blend_grams(grams: Sequence[LayerTensors], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of several style images' Gram matrices, by layer.

    It has the same gradient as the weighted losses together: with weights that add up to 1,
    sum w_i |A_i - G|^2 differs from |sum w_i A_i - G|^2 by a constant.
    """
    total = sum(weights)
    return {
        name: sum(image[name] * (w / total) for image, w in zip(grams, weights, strict=True))  # type: ignore[misc]
        for name in grams[0]
    }


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
    P = targets.P.flatten(2).squeeze(0)
    style_scales = {}
    for name, A in targets.A.items():
        distance = (A - targets.content_grams[name]).square().sum()
        style_scales[name] = 1 / (len(targets.A) * floor_distance(distance, A.square().sum()))
    unrelated = floor_distance(targets.unrelated_distance, P.square().sum(0).mean())
    return 1 / (unrelated * P.shape[1]), style_scales


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


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """What is minimized: layers, the scales of their terms, and the weights of the sum."""

    content_layer: str
    layers: tuple[str, ...]
    compute_scales: Callable[[TransferTargets], TermScales]
    content_weight: float
    style_weight: float
    color_weight: float

    def __post_init__(self) -> None:
        for name in (*self.layers, self.content_layer):
            if not RELU_NAME.fullmatch(name):
                raise ValueError(f"layers are relu1_1 to relu5_4, not {name!r}")
        if not self.layers or len(set(self.layers)) < len(self.layers):
            names = list(self.layers)
            raise ValueError(f"layers must name at least one layer, each once, not {names}")

    @property
    def deepest_layer(self) -> str:
        return max(*self.layers, self.content_layer)

    def losses_by_name(self, terms: Tensor) -> dict[str, Any]:
        """Return `Objective.compute_terms` as a record: floats by name, None if not finite.

        A layer's loss is relative to that layer alone, or its term of the chapter's sum.
        """
        loss, content, *styles, colors, total_variation = [
            value if isfinite(value) else None for value in terms.tolist()
        ]
        factor = len(styles) if self.compute_scales is relative_scales else 1
        return {
            "loss": loss,
            "content": content,
            "style": None if None in styles else sum(styles),
            "layers": dict(zip(self.layers, [v and v * factor for v in styles], strict=True)),
            "colors": colors,
            "total_variation": total_variation,
        }


@dataclass(frozen=True)
class Objective:
    """The weighted sum content_weight a |X - P|^2 + style_weight (sum_l b_l |A_l - G_l|^2 +
    color_weight D) + tv_weight V."""

    targets: TransferTargets
    scales: TermScales
    spec: LossSpec
    tv_weight: float = 0.0

    def compute_terms(self, sums: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return (4 + L,): loss, content term, each style layer's, D and V; scaled, unweighted.

        D is the divergence of colors, V the total variation; 0 where they have no weight.

        `sums`: |X - P|^2 and the Gram matrices of the L style layers; `x`: the image (1, 3, H, W).
        """
        (a, b), spec = self.scales, self.spec
        content, grams = a * sums[0], zip(spec.layers, sums[1:], strict=True)
        styles = [b[name] * (G - self.targets.A[name]).square().sum() for name, G in grams]
        zero = content.new_zeros(())
        colors = color_divergence(x, self.targets.colors) if spec.color_weight else zero
        variation = total_variation(x) if self.tv_weight else zero
        loss = (
            spec.content_weight * content
            + spec.style_weight * (torch.stack(styles).sum() + spec.color_weight * colors)
            + self.tv_weight * variation
        )
        return torch.stack([loss, content, *styles, colors, variation])


def total_variation(x: Tensor) -> Tensor:
    """Return the mean squared difference of neighboring pixels, vertical plus horizontal.

    Mahendran & Vedaldi 2015 with beta = 2.
    """
    vertical, horizontal = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
    return vertical.square().mean() + horizontal.square().mean()


def strength_weights(strength: float) -> tuple[float, float]:
    """Return the weights of content and style, which add up to 1, for a strength in 0..1.

    Proportional to the cubes: the visible change lies between weights of 1:1 (0.5) and
    1:1000 (0.91).
    """
    content, style = (1 - strength) ** 3, strength**3
    return content / (content + style), style / (content + style)


def chapter_loss(*, ratio: float, layers: list[str], content_layer: str) -> LossSpec:
    """Return the chapter's loss: ratio sum (P - X)^2 + sum (A - G)^2 / (4 k^2 m^2) / L.

    The chapter leaves `ratio` open. Raises ValueError for a negative or infinite one.
    """
    if not 0 <= ratio < float("inf"):
        raise ValueError(f"ratio must be at least 0, not {ratio}")
    return LossSpec(
        content_layer=content_layer,
        layers=tuple(layers),
        compute_scales=raw_scales,
        content_weight=ratio,
        style_weight=1.0,
        color_weight=0.0,
    )


def relative_loss(
    *, strength: float, color_weight: float, layers: list[str], content_layer: str
) -> LossSpec:
    """Return the relative loss, whose `strength` means the same for all images and sizes.

    Departs from Gatys: every style layer has the same weight whatever the size of its
    activations, and content and style keep their proportion whatever the images. Raises
    ValueError for a strength outside 0..1.
    """
    if not 0 <= color_weight < float("inf"):
        raise ValueError(f"color_weight must be at least 0, not {color_weight}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, not {strength}")
    content, style = strength_weights(strength)
    return LossSpec(
        content_layer=content_layer,
        layers=tuple(layers),
        compute_scales=relative_scales,
        content_weight=content,
        style_weight=style,
        color_weight=color_weight,
    )


STYLE_LOSSES: dict[str, Callable[..., LossSpec]] = {
    "chapter": chapter_loss,
    "relative": relative_loss,
}
