"""The losses of neural style (Gatys, Ecker & Bethge 2015): content distance and style distance.

Both losses here have one form, a |X - P|^2 at the content layer and, for each style layer,
b_l |A_l - G_l|^2; they differ in the scales a and b_l. Gram matrices are divided by their own
number of positions m: images may then differ in size, and at equal size it is the chapter's
formula.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from cnnlab.style.color_statistics import color_divergence
from cnnlab.style.gram import gram_distance, gram_matrix
from cnnlab.style.loss_scales import (
    LayerTensors,
    TermScales,
    TransferTargets,
    gaussian_scales,
    raw_scales,
    relative_scales,
)
from cnnlab.style.wasserstein import distance_from_gaussian, moment_matrix

RELU_NAME = re.compile("relu[1-5]_[1-4]")


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
class StyleStatistic:
    """By what the style of a layer is compared.

    `measure`: (maps, positions of the whole image or None, their weights or None) -> a matrix that
    is a sum over positions; `distance_from`: the style images' matrix -> a function, an image's
    matrix -> scalar.
    """

    measure: Callable[[Tensor, int | None, Tensor | None], Tensor]
    distance_from: Callable[[Tensor], Callable[[Tensor], Tensor]]


GRAM = StyleStatistic(gram_matrix, lambda target: partial(gram_distance, target=target))
GAUSSIAN = StyleStatistic(moment_matrix, distance_from_gaussian)


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """What is minimized: layers, the scales of their terms, and the weights of the sum."""

    content_layer: str
    layers: tuple[str, ...]
    statistic: StyleStatistic
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
    color_weight D) + tv_weight V.

    `pixel_weights`: (1, H, W) of the pixels in D, which add up to 1; None: all alike; `wrap`:
    opposite sides of the image are neighbors in V.
    """

    targets: TransferTargets
    scales: TermScales
    spec: LossSpec
    tv_weight: float = 0.0
    pixel_weights: Tensor | None = None
    wrap: bool = False

    @cached_property
    def distances(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return each style layer's distance from the style images."""
        distance_from = self.spec.statistic.distance_from
        return {name: distance_from(A) for name, A in self.targets.A.items()}

    def compute_terms(self, sums: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return (4 + L,): loss, content term, each style layer's, D and V; scaled, unweighted.

        D is the divergence of colors, V the total variation; 0 where they have no weight.

        `sums`: |X - P|^2 and the Gram matrices of the L style layers; `x`: the image (1, 3, H, W).
        """
        (a, b), spec = self.scales, self.spec
        content, grams = a * sums[0], zip(spec.layers, sums[1:], strict=True)
        styles = [b[name] * self.distances[name](G) for name, G in grams]
        zero = content.new_zeros(())
        colors = zero
        if spec.color_weight:
            colors = color_divergence(x, self.targets.colors, self.pixel_weights)
        variation = total_variation(x, wrap=self.wrap) if self.tv_weight else zero
        loss = (
            spec.content_weight * content
            + spec.style_weight * (torch.stack(styles).sum() + spec.color_weight * colors)
            + self.tv_weight * variation
        )
        return torch.stack([loss, content, *styles, colors, variation])


def total_variation(x: Tensor, *, wrap: bool = False) -> Tensor:
    """Return the mean squared difference of neighboring pixels, vertical plus horizontal.

    Mahendran & Vedaldi 2015 with beta = 2. `wrap`: opposite sides are neighbors.
    """
    if wrap:
        return sum(((x - x.roll(1, dim)).square().mean() for dim in (-2, -1)), x.new_zeros(()))
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
        statistic=GRAM,
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
    return make_relative_spec(strength, color_weight, layers, content_layer, GRAM, relative_scales)


def wasserstein_loss(
    *,
    strength: float,
    color_weight: float,
    layers: list[str],
    block_weights: list[float],
    content_layer: str,
) -> LossSpec:
    """Return the loss that compares the layers' features as Gaussians, by Wasserstein-2 distances.

    `strength` means the same for all images, sizes and networks; `block_weights`: of the layers of
    block 1 (relu1_1, relu1_2) to 5. Raises ValueError for a strength outside 0..1, and for weights
    that are not five numbers of at least 0, one of the layers' above 0.
    """
    if len(block_weights) != 5 or not all(0 <= w < float("inf") for w in block_weights):
        raise ValueError(f"block_weights must be 5 numbers of at least 0, not {block_weights}")
    scales = partial(gaussian_scales, block_weights=block_weights)
    spec = make_relative_spec(strength, color_weight, layers, content_layer, GAUSSIAN, scales)
    if not any(block_weights[int(name[4]) - 1] for name in layers):
        raise ValueError(f"block_weights are 0 for all layers: {block_weights}")
    return spec


def make_relative_spec(
    strength: float,
    color_weight: float,
    layers: list[str],
    content_layer: str,
    statistic: StyleStatistic,
    compute_scales: Callable[[TransferTargets], TermScales],
) -> LossSpec:
    """Return a loss of relative terms. Raises ValueError for a number out of range."""
    if not 0 <= color_weight < float("inf"):
        raise ValueError(f"color_weight must be at least 0, not {color_weight}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, not {strength}")
    content, style = strength_weights(strength)
    return LossSpec(
        content_layer=content_layer,
        layers=tuple(layers),
        statistic=statistic,
        compute_scales=compute_scales,
        content_weight=content,
        style_weight=style,
        color_weight=color_weight,
    )


STYLE_LOSSES: dict[str, Callable[..., LossSpec]] = {
    "chapter": chapter_loss,
    "relative": relative_loss,
    "wasserstein": wasserstein_loss,
}
