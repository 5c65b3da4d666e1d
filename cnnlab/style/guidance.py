"""Where in an image which style applies, and where content weighs more.

Guided Gram matrices (Gatys et al. 2017, "Controlling perceptual factors in neural style transfer",
on spatial control): a region's statistics are sums over positions, weighted by its mask, which is
averaged down to each layer's positions. Departs from the paper: the whole style image is its
target, and a region's term is multiplied by its share of the image, so that a pixel's style weighs
as much against its content as without a mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from cnnlab.style.losses import LossSpec, Objective

TINY = 1e-30  # a divisor for a region that vanishes at a coarse scale


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """The weights of the pixels of a canvas (H, W).

    `style`: (R, 1, H, W), those of each region's style, 1 where a mask is white; None: one region,
    the whole canvas; `gray`: (1, 1, H, W), how far a pixel may depart from the content image, 0 to
    1; None: as far as it can; `content`: (1, 1, H, W), factors of content; None: 1 everywhere.
    """

    style: Tensor | None = None
    gray: Tensor | None = None
    content: Tensor | None = None
    pooled: dict[tuple[str, int], Tensor] = field(default_factory=dict)  # by name and stride

    @property
    def num_regions(self) -> int:
        return 1 if self.style is None else len(self.style)

    @property
    def coverage(self) -> float:
        """Return the mean of the pixels' weights of style, 1 without masks."""
        return 1.0 if self.style is None else float(self.style.sum(0).mean())

    @cached_property
    def shares(self) -> Tensor:
        """Return the regions' shares (R,) of all weights of style; they add up to 1."""
        if self.style is None:
            return torch.ones(1)
        weights = self.style.mean((1, 2, 3)) + TINY
        return weights / weights.sum()

    def style_weights(self, stride: int, region: int) -> Tensor | None:
        """Return a region's weights (1, h, w) of a layer's positions, which add up to 1."""
        if self.style is None:
            return None
        return self.pool("style", self.style, stride, is_normalized=True)[region]

    def weigh_styles(self, style_weights: Sequence[float]) -> list[Sequence[float]]:
        """Return the style images' weights in each region: all of them, or one image in each."""
        if self.num_regions == 1:
            return [style_weights]
        numbers = range(self.num_regions)
        return [[float(i == region) for i in numbers] for region in numbers]

    def content_factors(self, stride: int) -> Tensor | None:
        """Return the factors (1, 1, h, w) of the content layer's positions."""
        if self.content is None:
            return None
        return self.pool("content", self.content, stride, is_normalized=False)

    def pool(self, name: str, weights: Tensor, stride: int, *, is_normalized: bool) -> Tensor:
        """Return the means of weights at a layer's positions, computed once."""
        if (name, stride) not in self.pooled:
            means = avg_pool2d(weights, stride) if stride > 1 else weights
            if is_normalized:
                means = means / means.sum((1, 2, 3), keepdim=True).clamp_min(TINY)
            self.pooled[name, stride] = means
        return self.pooled[name, stride]


def make_guidance(masks: Tensor | None, content: Tensor | None) -> Guidance:
    """Return the guidance of masks (R, 1, H, W) in 0..1 and of factors of content (1, 1, H, W).

    A pixel's gray is the sum of its masks, at most 1. It is the weight of style there, relative to
    white, of which masks that overlap take shares in proportion.
    """
    if masks is None:
        return Guidance(content=content)
    total = masks.sum(0, keepdim=True)
    return Guidance(style=masks / total.clamp_min(1), gray=total.clamp(max=1), content=content)


EVERYWHERE = Guidance()  # one region, the whole canvas


@dataclass(frozen=True)
class GuidedObjective:
    """The objectives of an image's regions, weighted by the regions' shares.

    `content`: the content image's canvas (1, 3, H, W), needed with masks alone.
    """

    regions: Sequence[Objective]
    guidance: Guidance
    content: Tensor | None

    @property
    def spec(self) -> LossSpec:
        return self.regions[0].spec

    @property
    def P(self) -> Tensor:
        """Return the content image's maps at the content layer."""
        return self.regions[0].targets.P

    def compute_terms(self, sums: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return the terms (4 + L,) as `Objective.compute_terms`, means over the regions.

        `sums`: |X - P|^2, and the L layers' matrices of each region in turn; `x`: (1, 3, H, W).
        """
        distance, *matrices = sums
        terms = [
            region.compute_terms([distance, *grams], x)
            for region, grams in zip(
                self.regions, split_regions(matrices, len(self.regions)), strict=True
            )
        ]
        if len(terms) == 1:
            return terms[0]
        return self.guidance.shares @ torch.stack(terms)

    def mix_content(self, x: Tensor) -> Tensor:
        """Return an optimized canvas (1, 3 or 1, H, W), mixed with the content image by the gray.

        Exactly the content image where every mask is black. Unmixed, pixels on a mask's edge, which
        no statistic of their own holds back, took on saturated colors for their neighbors' sake.
        """
        if self.guidance.gray is None or self.content is None:
            return x
        return torch.lerp(self.content[:, : x.shape[1]], x, self.guidance.gray)

    def backpropagate_mix(self, gradient: Tensor) -> Tensor:
        """Return the gradient of a canvas (1, 3 or 1, H, W) from that of the mixed one."""
        return gradient if self.guidance.gray is None else gradient * self.guidance.gray


def split_regions(matrices: Sequence[Tensor], num_regions: int) -> list[Sequence[Tensor]]:
    """Return the matrices of all layers of each region, which follow one another."""
    num_layers = len(matrices) // num_regions
    return [matrices[i * num_layers : (i + 1) * num_layers] for i in range(num_regions)]
