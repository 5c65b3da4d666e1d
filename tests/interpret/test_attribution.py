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


def make_query(**changes: Any) -> AttributionQuery:
    """Return a query about a small network in float64 and an image of noise."""
    rng = torch.Generator().manual_seed(5)
    batch_norm = {"decay": 0.9, "eps": 1e-3}
    keys = {"extent": 3, "pool": "average", "batch_norm": batch_norm, "output": "linear"}
    model = cnn((2, 10, 10), 4, filters=[5, 6], hidden=[7], dropout=0.5, **keys)
    initialize_weights(model, rng)
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    x = torch.randn(1, 2, 10, 10, generator=rng, dtype=torch.float64)
    inputs = {
        "model": model.double().eval().requires_grad_(False),
        "x": x,
        "target": 2,
        "baseline": torch.zeros_like(x),
    }
    options = {
        "cam_layer": model.conv_2,
        "samples": 16,
        "noise": 0.1,
        "tolerance": 0.01,
        "window": 3,
        "stride": 1,
        "seed": 0,
        "batch_size": 50,
    }
    return AttributionQuery(**(inputs | options | changes))


def logit(query: AttributionQuery, x: torch.Tensor) -> float:
    return float(query.model(x)[0, query.target])


def test_gradient_matches_finite_differences() -> None:
    query, step = make_query(), 1e-6
    slopes = np.zeros((2, 10, 10))
    for c, i, j in np.ndindex(2, 10, 10):
        moved = torch.zeros_like(query.x)
        moved[0, c, i, j] = step
        slopes[c, i, j] = (logit(query, query.x + moved) - logit(query, query.x - moved)) / (
            2 * step
        )
    np.testing.assert_allclose(
        vanilla_gradient(query).values, np.abs(slopes).max(0), rtol=1e-5, atol=1e-8
    )


def test_smoothgrad_is_the_mean_gradient_of_noisy_images() -> None:
    query = make_query()
    np.testing.assert_allclose(
        smoothgrad(replace(query, noise=0.0)).values, vanilla_gradient(query).values, rtol=1e-9
    )
    noise = torch.randn(
        16, 2, 10, 10, generator=torch.Generator().manual_seed(0)
    )  # as float32 draws it
    noisy = (query.x + 0.1 * float(query.x.max() - query.x.min()) * noise).requires_grad_()
    (slopes,) = torch.autograd.grad(query.model(noisy)[:, query.target].sum(), noisy)
    np.testing.assert_allclose(
        smoothgrad(query).values, slopes.mean(0).abs().amax(0).numpy(), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(
        smoothgrad(replace(query, batch_size=3)).values, smoothgrad(query).values, rtol=1e-9
    )
    assert np.array_equal(smoothgrad(query).values, smoothgrad(query).values)
    assert not np.array_equal(smoothgrad(query).values, smoothgrad(replace(query, seed=1)).values)


@pytest.mark.parametrize("tolerance", [0.01, 1e-4])
def test_integrated_gradients_are_complete(tolerance: float) -> None:
    query = make_query(tolerance=tolerance)
    result = integrated_gradients(query)
    change = logit(query, query.x) - logit(query, query.baseline)
    assert result.values.sum() == pytest.approx(change, rel=tolerance)
    assert result.details["completeness_error"] <= tolerance and result.details[
        "logit_difference"
    ] == pytest.approx(change)


def test_a_linear_network_has_known_attributions() -> None:
    """Its gradient is its weights, and a pixel's attribution is weight times pixel."""
    weight = torch.randn(3, 16, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    model[1].weight.data = weight
    query = make_query(
        model=model.requires_grad_(False),
        x=torch.randn(1, 1, 4, 4, dtype=torch.float64),
        target=1,
        baseline=torch.zeros(1, 1, 4, 4, dtype=torch.float64),
        cam_layer=None,
        window=1,
    )
    w = weight[1].view(4, 4).numpy()
    np.testing.assert_allclose(vanilla_gradient(query).values, np.abs(w))
    product = w * query.x[0, 0].numpy()
    np.testing.assert_allclose(integrated_gradients(query).values, product)
    np.testing.assert_allclose(occlusion(query).values, product, rtol=1e-5, atol=1e-7)
    blank = grad_cam(query)
    assert not blank.values.any() and blank.blank_reason == "the network has no convolution"


def test_occlusion_is_the_mean_fall_over_the_covering_squares() -> None:
    query = make_query(window=4, stride=2)
    fall, count = np.zeros((10, 10)), np.zeros((10, 10))
    for i in range(0, 8, 2):
        for j in range(0, 8, 2):
            hidden = query.x.clone()
            hidden[:, :, i : i + 4, j : j + 4] = 0
            fall[i : i + 4, j : j + 4] += logit(query, query.x) - logit(query, hidden)
            count[i : i + 4, j : j + 4] += 1
    np.testing.assert_allclose(
        occlusion(query).values, fall / count, rtol=1e-6
    )  # captum adds up in float32


def test_grad_cam_weighs_the_last_maps_by_their_mean_gradient() -> None:
    query = make_query()
    seen: list[torch.Tensor] = []
    handle = query.model.conv_2.register_forward_hook(
        lambda module, inputs, out: seen.append(out) or out.retain_grad()
    )
    query.model(query.x.clone().requires_grad_())[0, query.target].backward()
    handle.remove()
    (maps,) = seen
    coarse = (maps.grad.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    wide = nn.functional.interpolate(coarse, (10, 10), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(grad_cam(query).values, wide[0, 0].detach().numpy(), rtol=1e-9)


def test_blank_maps_have_a_reason() -> None:
    query = make_query()
    for parameter in query.model.output.parameters():
        parameter.zero_()
    for name, method in ATTRIBUTION_METHODS.items():
        result = method(query)
        assert not result.values.any() and result.blank_reason, name


def test_rank_correlation_matches_spearmanr() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 5, (8, 8)) * 1.0, rng.normal(size=(8, 8))
    first, second = AttributionMap(a, True, "", {}), AttributionMap(b, True, "", {})
    assert rank_correlation(first, second) == pytest.approx(
        spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic
    )
    assert rank_correlation(first, first) == pytest.approx(1) and rank_correlation(
        first, replace(first, values=-a)
    ) == pytest.approx(1)
    assert rank_correlation(first, AttributionMap(np.zeros((8, 8)), True, "blank", {})) is None
