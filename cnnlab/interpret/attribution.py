"""Which pixels a network's answer depends on, by captum's methods and SmoothGrad."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion, Saliency
from torch import Tensor, nn

MAX_INTEGRATION_STEPS = 4096  # of the integral's sum; more change nothing but the time


@dataclass(frozen=True, kw_only=True)
class AttributionQuery:
    """What is asked of a network: on which of one picture's (1, C, H, W) pixels does a class's logit depend?"""

    model: nn.Module
    x: Tensor
    target: int  # the class
    baseline: Tensor  # (1, C, H, W): the picture that says nothing
    cam_layer: (
        nn.Module | None
    )  # whose maps Grad-CAM weighs; None where the network has no convolution
    samples: int  # SmoothGrad's noisy pictures
    noise: float  # their noise's deviation, as a share of the picture's range
    tolerance: float  # integrated gradients: how far from complete the sum may be, as a share
    window: int  # pixels across that occlusion covers
    stride: int  # and between its places
    seed: int
    batch_size: int  # pictures through the network together


@dataclass(frozen=True)
class AttributionMap:
    """(H, W) numbers, one a pixel: signed ones speak for the class above zero and against it below. `why` says why a
    map is blank; `about` holds what else was found."""

    values: np.ndarray
    is_signed: bool
    blank_reason: str
    details: Mapping[str, float]


def vanilla_gradient(q: AttributionQuery) -> AttributionMap:
    """|d logit / d pixel|, the largest over the channels (Simonyan, Vedaldi & Zisserman 2014, section 3.1)."""
    slope = Saliency(q.model).attribute(clone_requiring_grad(q.x), target=q.target, abs=True)
    return make_unsigned_map(slope.amax(1), "the logit does not change with any pixel")


def smoothgrad(q: AttributionQuery) -> AttributionMap:
    """The gradient's mean over pictures with noise, then as `gradient` (Smilkov et al. 2017)."""
    rng = torch.Generator().manual_seed(q.seed)
    deviation = q.noise * float(q.x.max() - q.x.min())
    noisy = q.x + deviation * torch.randn(q.samples, *q.x.shape[1:], generator=rng).to(q.x.device)
    slopes = [
        Saliency(q.model).attribute(clone_requiring_grad(part), target=q.target, abs=False)
        for part in noisy.split(q.batch_size)
    ]
    return make_unsigned_map(
        torch.cat(slopes).mean(0, keepdim=True).abs().amax(1),
        "the logit does not change with any pixel",
    )


def integrated_gradients(q: AttributionQuery) -> AttributionMap:
    """(pixel - baseline) times the mean gradient on the way between (Sundararajan, Taly & Yan 2017), summed over the
    channels. The sum over all pixels is the logit's difference between the two (completeness): steps are doubled until
    that holds to `tolerance`; `about` says what was reached."""
    method, steps = IntegratedGradients(q.model), 32
    with torch.inference_mode():
        total = float((q.model(q.x) - q.model(q.baseline))[0, q.target])
    while True:
        parts, delta = method.attribute(
            q.x, q.baseline, target=q.target, n_steps=steps, method="riemann_middle",
            internal_batch_size=q.batch_size, return_convergence_delta=True,
        )  # fmt: skip
        error = abs(float(delta[0])) / max(abs(total), 1e-12)
        if error <= q.tolerance or steps >= MAX_INTEGRATION_STEPS:
            break
        steps *= 2
    about = {"steps": steps, "completeness_error": error, "logit_difference": total}
    return make_signed_map(
        parts.sum(1), "the logit is the same all the way from the baseline", about
    )


def occlusion(q: AttributionQuery) -> AttributionMap:
    """How much the logit falls when a square around a pixel is set to the baseline, the mean over all squares that
    hold it (Zeiler & Fergus 2014, section 4.2)."""
    channels = q.x.shape[1]
    fall = Occlusion(q.model).attribute(
        q.x, sliding_window_shapes=(channels, q.window, q.window), strides=(channels, q.stride, q.stride),
        target=q.target, baselines=q.baseline, perturbations_per_eval=q.batch_size,
    )  # fmt: skip
    return make_signed_map(fall.mean(1), "no square that was covered changed the logit", {})


def grad_cam(q: AttributionQuery) -> AttributionMap:
    """The last convolution's maps, each by its mean gradient, where their sum is above zero (Selvaraju et al. 2017),
    stretched to the picture."""
    if q.cam_layer is None:
        return AttributionMap(np.zeros(q.x.shape[2:]), False, "the network has no convolution", {})
    coarse = LayerGradCam(q.model, q.cam_layer).attribute(
        clone_requiring_grad(q.x), target=q.target, relu_attributions=True
    )
    size = (q.x.shape[2], q.x.shape[3])
    stretched = LayerAttribution.interpolate(coarse, size, "bilinear")
    return make_unsigned_map(
        stretched.mean(1), "no place of the last maps speaks for the class more than against it"
    )


ATTRIBUTION_METHODS: dict[str, Callable[[AttributionQuery], AttributionMap]] = {
    "gradient": vanilla_gradient,
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "grad_cam": grad_cam,
    "occlusion": occlusion,
}


def clone_requiring_grad(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def map_to_array(values: Tensor) -> np.ndarray:
    """(1, H, W) -> (H, W)."""
    return values[0].detach().cpu().double().numpy()


def make_unsigned_map(values: Tensor, why: str) -> AttributionMap:
    return AttributionMap(map_to_array(values), False, "" if values.any() else why, {})


def make_signed_map(values: Tensor, why: str, about: Mapping[str, float]) -> AttributionMap:
    return AttributionMap(map_to_array(values), True, "" if values.any() else why, about)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Any numbers, flattened -> their ranks from 0, equal ones sharing the mean of theirs."""
    _, which, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts + 1) / 2)[which]


def rank_correlation(one: AttributionMap, other: AttributionMap) -> float | None:
    """Spearman's rank correlation of two maps' magnitudes, -1..1, as Adebayo et al. (2018) compare them; None where one
    of them is all alike."""
    a, b = (average_ranks(np.abs(each.values)) for each in (one, other))
    if not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])
