"""What neural style minimises (Gatys, Ecker & Bethge 2015): how far a picture is from one in what it shows, and from
another in how it is painted.

Both objectives here have one form, a |X - P|^2 at the content's layer and, for each style layer, b_l |A_l - G_l|^2;
they differ in the scales a and b_l. Gram matrices are divided by their own number of positions m: pictures may then
differ in size, and where they do not it is the chapter's formula.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LayerTensors = Mapping[str, Tensor]
TermScales = tuple[Tensor, dict[str, Tensor]]
RELU_NAME = re.compile("relu[1-5]_[1-4]")


def gram_matrix(maps: Tensor, num_positions: int | None = None) -> Tensor:
    """(1, K, H, W) -> (K, K), F F^T / m in float32 or better, m = HW positions; `places`: the m of the whole picture
    that these maps are a part of, whose parts' matrices add up to its own."""
    columns = at_least_float32(maps).flatten(2).squeeze(0)
    return columns @ columns.T / (num_positions or columns.shape[1])


def at_least_float32(x: Tensor) -> Tensor:
    """The same in float32, where it has less."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def blend_grams(grams: Sequence[LayerTensors], weights: Sequence[float]) -> dict[str, Tensor]:
    """Several pictures' Gram matrices as one target, by weight: what is nearest to the blend is nearest to them all,
    since sum w_i |A_i - G|^2 differs from |sum w_i A_i - G|^2 by a constant, the weights adding up to 1."""
    total = sum(weights)
    return {
        name: sum(one[name] * (w / total) for one, w in zip(grams, weights, strict=True))  # type: ignore[misc]
        for name in grams[0]
    }


@dataclass(frozen=True)
class TransferTargets:
    """What is painted from: the photograph's maps P at the content's layer, how far a place of it is from an unrelated
    one of the paintings there, and Gram matrices by layer of the paintings (A) and of the photograph itself."""

    P: Tensor
    unrelated_distance: Tensor
    A: LayerTensors
    content_grams: LayerTensors


def raw_scales(sitters: TransferTargets) -> TermScales:
    """1 for content (the chapter has no half), 1 / (4 k^2) / L for each of L style layers of k filters."""
    scale = {
        name: A.new_tensor(1 / (4 * A.shape[0] ** 2 * len(sitters.A)))
        for name, A in sitters.A.items()
    }
    return sitters.P.new_tensor(1.0), scale


def relative_scales(sitters: TransferTargets) -> TermScales:
    """Each term as a share of what it could be. Style, by layer: 1 / L for the photograph untouched, 0 for a picture
    painted exactly as the painting. Content: 0 for the photograph, 1 on average for a place of it beside an unrelated
    place of the painting."""
    P = sitters.P.flatten(2).squeeze(0)
    scale = {}
    for name, A in sitters.A.items():
        untouched = floor_distance(
            (A - sitters.content_grams[name]).square().sum(), A.square().sum()
        )
        scale[name] = 1 / (len(sitters.A) * untouched)
    return 1 / (
        floor_distance(sitters.unrelated_distance, P.square().sum(0).mean()) * P.shape[1]
    ), scale


@dataclass(frozen=True)
class FeatureSpread:
    """Where the places of a layer's maps lie: their mean, (K,), and the trace of their covariance."""

    mean: Tensor
    trace: Tensor


def measure_feature_spread(maps: Tensor) -> FeatureSpread:
    """Of (1, K, H, W)."""
    places = maps.flatten(2).squeeze(0)
    return FeatureSpread(places.mean(1), places.var(1, correction=0).sum())


def mean_pair_distance(p: FeatureSpread, s: FeatureSpread) -> Tensor:
    """The mean squared distance of a place of one and a place of the other, over all pairs: E|p - s|^2 = tr cov P + tr
    cov S + |mean P - mean S|^2."""
    return p.trace + s.trace + (p.mean - s.mean).square().sum()


def floor_distance(distance: Tensor, size: Tensor) -> Tensor:
    """Squared distances below a millionth of what they are between are not told apart: no division by nothing."""
    return torch.maximum(distance, 1e-6 * size + 1e-12)


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """What is minimised: layers, how their terms are scaled, and the weights of the sum."""

    content_layer: str
    layers: tuple[str, ...]
    compute_scales: Callable[[TransferTargets], TermScales]
    content_weight: float
    style_weight: float

    def __post_init__(self) -> None:
        for name in (*self.layers, self.content_layer):
            if not RELU_NAME.fullmatch(name):
                raise ValueError(f"layers are relu1_1 to relu5_4, not {name!r}")
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError(
                f"layers must name at least one, and each once, not {list(self.layers)}"
            )

    @property
    def deepest_layer(self) -> str:
        return max(*self.layers, self.content_layer)


@dataclass(frozen=True)
class Objective:
    """A weighted sum: `content` a |X - P|^2 + `style` sum_l b_l |A_l - G_l|^2 + `variation` V."""

    targets: TransferTargets
    scales: TermScales
    spec: LossSpec
    tv_weight: float = 0.0

    def compute_terms(self, sums: Sequence[Tensor], x: Tensor) -> Tensor:
        """|X - P|^2 and the Gram matrices of the aim's layers, and the (1, 3, H, W) picture itself -> the loss, the
        content's term, each style layer's, and the variation, terms scaled but not yet weighted: (3 + L,)."""
        (a, b), aim = self.scales, self.spec
        content, grams = a * sums[0], zip(aim.layers, sums[1:], strict=True)
        styles = [b[name] * (G - self.targets.A[name]).square().sum() for name, G in grams]
        variation = total_variation(x) if self.tv_weight else content.new_zeros(())
        loss = (
            aim.content_weight * content
            + aim.style_weight * torch.stack(styles).sum()
            + self.tv_weight * variation
        )
        return torch.stack([loss, content, *styles, variation])


def total_variation(x: Tensor) -> Tensor:
    """The mean squared difference of neighbouring pixels, down and across (Mahendran & Vedaldi 2015, beta = 2)."""
    return (x[..., 1:, :] - x[..., :-1, :]).square().mean() + (
        x[..., 1:] - x[..., :-1]
    ).square().mean()


def strength_weights(strength: float) -> tuple[float, float]:
    """0 (the photograph) to 1 (the painting's texture alone) -> weights of content and style, which add up to 1: the
    cubes, since what is seen to change lies between weights of 1:1 (0.5) and 1:1000 (0.91)."""
    content, style = (1 - strength) ** 3, strength**3
    return content / (content + style), style / (content + style)


def chapter_loss(*, ratio: float, layers: list[str], content_layer: str) -> LossSpec:
    """The chapter's loss: sum (P - X)^2 and sum (A - G)^2 / (4 k^2 m^2) / L, `ratio` : 1, which the chapter leaves
    open."""
    if not 0 <= ratio < float("inf"):
        raise ValueError(f"ratio must be at least 0, not {ratio}")
    return LossSpec(
        content_layer=content_layer,
        layers=tuple(layers),
        compute_scales=raw_scales,
        content_weight=ratio,
        style_weight=1.0,
    )


def relative_loss(*, strength: float, layers: list[str], content_layer: str) -> LossSpec:
    """Shares, so that `strength` means the same for every pair of pictures at every size.

    Departs from Gatys: every style layer counts the same whatever its activations' size, and content and style add up
    in the same proportion whatever the pictures, which raw sums do not.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, not {strength}")
    content, style = strength_weights(strength)
    return LossSpec(
        content_layer=content_layer,
        layers=tuple(layers),
        compute_scales=relative_scales,
        content_weight=content,
        style_weight=style,
    )


STYLE_LOSSES: dict[str, Callable[..., LossSpec]] = {
    "chapter": chapter_loss,
    "relative": relative_loss,
}
