from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from cnnlab.interpret.attribution import (
    ATTRIBUTION_METHODS,
    AttributionMap,
    AttributionQuery,
    grad_cam,
    integrated_gradients,
    occlusion,
    rank_correlation,
    smoothgrad,
    vanilla_gradient,
)
from cnnlab.models.cnn import cnn
from cnnlab.models.layers import initialize_weights


def query(**other: Any) -> AttributionQuery:
    """A small network in float64, a picture of noise, and what is asked of it."""
    rng = torch.Generator().manual_seed(5)
    model = cnn((2, 10, 10), 4, filters=[5, 6], extent=3, pool="average", hidden=[7], dropout=0.5,
                batch_norm={"decay": 0.9, "eps": 1e-3}, output="linear")  # fmt: skip
    initialize_weights(model, rng)
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    x = torch.randn(1, 2, 10, 10, generator=rng, dtype=torch.float64)
    given = {
        "model": model.double().eval().requires_grad_(False),
        "x": x,
        "target": 2,
        "baseline": torch.zeros_like(x),
    }
    asked = {
        "cam_layer": model.conv_2,
        "samples": 16,
        "noise": 0.1,
        "tolerance": 0.01,
        "window": 3,
        "stride": 1,
        "seed": 0,
        "at_once": 50,
    }
    return AttributionQuery(**(given | asked | other))


def logit(q: AttributionQuery, x: torch.Tensor) -> float:
    return float(q.model(x)[0, q.target])


def test_the_gradient_is_that_of_finite_differences() -> None:
    q, step = query(), 1e-6
    found = np.zeros((2, 10, 10))
    for c, i, j in np.ndindex(2, 10, 10):
        moved = torch.zeros_like(q.x)
        moved[0, c, i, j] = step
        found[c, i, j] = (logit(q, q.x + moved) - logit(q, q.x - moved)) / (2 * step)
    np.testing.assert_allclose(
        vanilla_gradient(q).values, np.abs(found).max(0), rtol=1e-5, atol=1e-8
    )


def test_smoothgrad_without_noise_is_the_gradient_and_repeats_by_its_seed() -> None:
    q = query()
    np.testing.assert_allclose(
        smoothgrad(replace(q, noise=0.0)).values, vanilla_gradient(q).values, rtol=1e-9
    )
    noise = torch.randn(
        16, 2, 10, 10, generator=torch.Generator().manual_seed(0)
    )  # as float32 draws it
    noisy = (q.x + 0.1 * float(q.x.max() - q.x.min()) * noise).requires_grad_()
    (slopes,) = torch.autograd.grad(q.model(noisy)[:, q.target].sum(), noisy)
    np.testing.assert_allclose(
        smoothgrad(q).values, slopes.mean(0).abs().amax(0).numpy(), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(
        smoothgrad(replace(q, batch_size=3)).values, smoothgrad(q).values, rtol=1e-9
    )
    assert np.array_equal(smoothgrad(q).values, smoothgrad(q).values)
    assert not np.array_equal(smoothgrad(q).values, smoothgrad(replace(q, seed=1)).values)


@pytest.mark.parametrize("tolerance", [0.01, 1e-4])
def test_integrated_gradients_sum_to_what_the_logit_changed_by(tolerance: float) -> None:
    q = query(tolerance=tolerance)
    found = integrated_gradients(q)
    change = logit(q, q.x) - logit(q, q.baseline)
    assert found.values.sum() == pytest.approx(change, rel=tolerance)
    assert found.details["completeness_error"] <= tolerance and found.details[
        "logit_difference"
    ] == pytest.approx(change)


def test_of_a_linear_network_all_is_known() -> None:
    """Its gradient is its weights, and what a pixel brings is weight times pixel."""
    weight = torch.randn(3, 16, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    model[1].weight.data = weight
    q = query(model=model.requires_grad_(False), x=torch.randn(1, 1, 4, 4, dtype=torch.float64), target=1,
              baseline=torch.zeros(1, 1, 4, 4, dtype=torch.float64), cam_layer=None, window=1)  # fmt: skip
    w = weight[1].view(4, 4).numpy()
    np.testing.assert_allclose(vanilla_gradient(q).values, np.abs(w))
    brought = w * q.x[0, 0].numpy()
    np.testing.assert_allclose(integrated_gradients(q).values, brought)
    np.testing.assert_allclose(occlusion(q).values, brought, rtol=1e-5, atol=1e-7)
    blank = grad_cam(q)
    assert not blank.values.any() and blank.blank_reason == "the network has no convolution"


def test_occlusion_is_the_mean_fall_over_the_squares_that_hold_a_pixel() -> None:
    q = query(window=4, stride=2)
    fall, count = np.zeros((10, 10)), np.zeros((10, 10))
    for i in range(0, 8, 2):
        for j in range(0, 8, 2):
            hidden = q.x.clone()
            hidden[:, :, i : i + 4, j : j + 4] = 0
            fall[i : i + 4, j : j + 4] += logit(q, q.x) - logit(q, hidden)
            count[i : i + 4, j : j + 4] += 1
    np.testing.assert_allclose(
        occlusion(q).values, fall / count, rtol=1e-6
    )  # captum adds up in float32


def test_grad_cam_weighs_the_last_maps_by_their_mean_gradient() -> None:
    q = query()
    seen: list[torch.Tensor] = []
    handle = q.model.conv_2.register_forward_hook(
        lambda m, given, out: seen.append(out) or out.retain_grad()
    )
    q.model(q.x.clone().requires_grad_())[0, q.target].backward()
    handle.remove()
    (maps,) = seen
    coarse = (maps.grad.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    wide = nn.functional.interpolate(coarse, (10, 10), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(grad_cam(q).values, wide[0, 0].detach().numpy(), rtol=1e-9)


def test_blank_maps_say_why() -> None:
    q = query()
    for parameter in q.model.output.parameters():
        parameter.zero_()
    for name, method in ATTRIBUTION_METHODS.items():
        found = method(q)
        assert not found.values.any() and found.blank_reason, name


def test_similarity_is_spearmans_of_magnitudes() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 5, (8, 8)) * 1.0, rng.normal(size=(8, 8))
    one, other = AttributionMap(a, True, "", {}), AttributionMap(b, True, "", {})
    assert rank_correlation(one, other) == pytest.approx(
        spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic
    )
    assert rank_correlation(one, one) == pytest.approx(1) and rank_correlation(
        one, replace(one, values=-a)
    ) == pytest.approx(1)
    assert rank_correlation(one, AttributionMap(np.zeros((8, 8)), True, "blank", {})) is None
