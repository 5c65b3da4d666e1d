"""Attribute a network's prediction to pixels, by captum's methods and SmoothGrad."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion, Saliency
from scipy.stats import rankdata
from torch import Tensor, nn

MAX_INTEGRATION_STEPS = 4096  # of the integral's sum; more only take time


@dataclass(frozen=True, kw_only=True)
class AttributionQuery:
    """The question: on which of an image's (1, C, H, W) pixels does a class's logit depend?"""

    model: nn.Module
    x: Tensor
    target: int  # the class
    baseline: Tensor  # (1, C, H, W): the image without information
    cam_layer: nn.Module | None  # the layer Grad-CAM weighs; None where there is no convolution
    samples: int  # SmoothGrad's noisy images
    noise: float  # their standard deviation, as a fraction of the image's range
    tolerance: float  # integrated gradients: the largest relative completeness error
    window: int  # side of the square that occlusion covers, pixels
    stride: int  # and between its positions
    seed: int
    batch_size: int  # images in one forward pass


@dataclass(frozen=True)
class AttributionMap:
    """(H, W) numbers, one a pixel: signed ones are evidence for the class above zero and against it
    below. `blank_reason` says why a map is blank; `details` holds further numbers of the method."""

    values: np.ndarray
    is_signed: bool
    blank_reason: str
    details: Mapping[str, float]


def vanilla_gradient(query: AttributionQuery) -> AttributionMap:
    """Return |d logit / d pixel|, the largest over the channels (Simonyan, Vedaldi & Zisserman
    2014, section 3.1)."""
    x = clone_requiring_grad(query.x)
    gradient = Saliency(query.model).attribute(x, target=query.target, abs=True)
    return make_unsigned_map(gradient.amax(1), "the logit does not change with any pixel")


def smoothgrad(query: AttributionQuery) -> AttributionMap:
    """Return the magnitude of the mean gradient over noisy images (Smilkov et al. 2017), the
    largest over the channels."""
    x, rng = query.x, torch.Generator().manual_seed(query.seed)
    std = query.noise * float(x.max() - x.min())
    noisy = x + std * torch.randn(query.samples, *x.shape[1:], generator=rng).to(x.device)
    method = Saliency(query.model)
    gradients = [
        method.attribute(clone_requiring_grad(batch), target=query.target, abs=False)
        for batch in noisy.split(query.batch_size)
    ]
    mean = torch.cat(gradients).mean(0, keepdim=True)
    return make_unsigned_map(mean.abs().amax(1), "the logit does not change with any pixel")


def integrated_gradients(query: AttributionQuery) -> AttributionMap:
    """Return (pixel - baseline) times the mean gradient on the line between (Sundararajan, Taly &
    Yan 2017), summed over the channels. The sum over all pixels is the logit's difference between
    the two (completeness): the steps are doubled until that holds to `tolerance`; `details` has the
    error reached."""
    method, steps = IntegratedGradients(query.model), 32
    with torch.inference_mode():
        difference = float((query.model(query.x) - query.model(query.baseline))[0, query.target])
    while True:
        parts, delta = method.attribute(
            query.x,
            query.baseline,
            target=query.target,
            n_steps=steps,
            method="riemann_middle",
            internal_batch_size=query.batch_size,
            return_convergence_delta=True,
        )
        error = abs(float(delta[0])) / max(abs(difference), 1e-12)
        if error <= query.tolerance or steps >= MAX_INTEGRATION_STEPS:
            break
        steps *= 2
    details = {"steps": steps, "completeness_error": error, "logit_difference": difference}
    reason = "the logit is the same all the way from the baseline"
    return make_signed_map(parts.sum(1), reason, details)


def occlusion(query: AttributionQuery) -> AttributionMap:
    """Return how much the logit falls when a square around a pixel is set to the baseline, the mean
    over all squares that cover it (Zeiler & Fergus 2014, section 4.2)."""
    channels, window, stride = query.x.shape[1], query.window, query.stride
    fall = Occlusion(query.model).attribute(
        query.x,
        sliding_window_shapes=(channels, window, window),
        strides=(channels, stride, stride),
        target=query.target,
        baselines=query.baseline,
        perturbations_per_eval=query.batch_size,
    )
    return make_signed_map(fall.mean(1), "no square that was covered changed the logit", {})


def grad_cam(query: AttributionQuery) -> AttributionMap:
    """Return the sum of the last convolution's maps, each weighted by its mean gradient, where
    above zero (Selvaraju et al. 2017), interpolated to the image's size."""
    if query.cam_layer is None:
        zeros = np.zeros(query.x.shape[2:])
        return AttributionMap(zeros, False, "the network has no convolution", {})
    coarse = LayerGradCam(query.model, query.cam_layer).attribute(
        clone_requiring_grad(query.x), target=query.target, relu_attributions=True
    )
    size = (query.x.shape[2], query.x.shape[3])
    fine = LayerAttribution.interpolate(coarse, size, "bilinear")
    reason = "no place of the last maps is evidence for the class more than against it"
    return make_unsigned_map(fine.mean(1), reason)


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
    """Convert a (1, H, W) tensor to an (H, W) float64 array."""
    return values[0].detach().cpu().double().numpy()


def make_unsigned_map(values: Tensor, reason: str) -> AttributionMap:
    return AttributionMap(map_to_array(values), False, "" if values.any() else reason, {})


def make_signed_map(values: Tensor, reason: str, details: Mapping[str, float]) -> AttributionMap:
    return AttributionMap(map_to_array(values), True, "" if values.any() else reason, details)


def rank_correlation(first: AttributionMap, second: AttributionMap) -> float | None:
    """Return Spearman's rank correlation of two maps' magnitudes, -1..1, as Adebayo et al. (2018)
    compare them; None where one of them is constant."""
    ranks = [rankdata(np.abs(each.values), axis=None) for each in (first, second)]
    if not ranks[0].std() or not ranks[1].std():
        return None
    return float(np.corrcoef(*ranks)[0, 1])
