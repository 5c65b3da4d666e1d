import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from cnnlab.style import color_statistics
from cnnlab.style.color_statistics import (
    VARIANCE_FLOOR,
    blend_color_moments,
    color_divergence,
    color_features,
    make_color_target,
    measure_color_moments,
)

G = torch.Generator().manual_seed(0)
FIRST, SECOND = (torch.rand(1, 3, *size, generator=G).double() for size in ((7, 9), (12, 8)))
SECOND = SECOND * torch.tensor([1, 0.5, 0.2]).view(1, 3, 1, 1)


def divergence(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return color_divergence(x, make_color_target(measure_color_moments(y)))


def make_gaussian(x: torch.Tensor) -> MultivariateNormal:
    features = color_features(x.flatten(2)[0])
    covariance = torch.cov(features, correction=0) + VARIANCE_FLOOR * torch.eye(9)
    return MultivariateNormal(features.mean(1), covariance)


def test_divergence_equals_that_of_torch() -> None:
    expected = kl_divergence(make_gaussian(FIRST), make_gaussian(SECOND))
    torch.testing.assert_close(divergence(FIRST, SECOND), expected)


def test_divergence_of_equal_colors_is_0() -> None:
    order = torch.randperm(63, generator=G)
    shuffled = FIRST.flatten(2)[..., order].view(1, 3, 9, 7).requires_grad_()
    value = divergence(shuffled, FIRST)
    assert float(value.detach()) == pytest.approx(0, abs=1e-12)
    (gradient,) = torch.autograd.grad(value, shuffled)
    assert float(gradient.abs().max()) < 1e-12


def test_gradient_equals_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """In several blocks of pixels, the last one smaller."""
    monkeypatch.setattr(color_statistics, "COLOR_BLOCK_PIXELS", 20)
    target = make_color_target(measure_color_moments(SECOND))
    x = FIRST[..., :5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: color_divergence(x, target), x)


def test_blended_moments_are_those_of_all_pixels() -> None:
    both = torch.cat([FIRST.flatten(2), SECOND.flatten(2)], 2).unsqueeze(-1)
    blended = blend_color_moments([measure_color_moments(x) for x in (FIRST, SECOND)], [63, 96])
    expected = measure_color_moments(both)
    torch.testing.assert_close(blended.mean, expected.mean)
    torch.testing.assert_close(blended.covariance, expected.covariance)


@pytest.mark.parametrize("name", ["gray", "white", "green", "colors"])
def test_divergence_of_gray_and_of_one_color_is_finite(name: str) -> None:
    green = torch.zeros(1, 3, 300, 300)
    green[:, 1] = 1
    images = {
        "gray": FIRST[:, :1].expand(-1, 3, -1, -1).float(),
        "white": torch.ones(1, 3, 300, 300),
        "green": green,
        "colors": FIRST.float(),
    }
    for style in images.values():
        x = images[name].detach().requires_grad_()
        value = divergence(x, style)
        (gradient,) = torch.autograd.grad(value, x)
        assert (
            bool(value.isfinite())
            and bool(gradient.isfinite().all())
            and float(value.detach()) >= -1e-3
        )


def test_few_pixels_of_another_hue_raise_the_divergence() -> None:
    """4 % of green in an image of blues: the covariance of RGB alone hardly changes."""
    blues = torch.rand(1, 3, 50, 50, generator=G).double() * 0.2
    blues[:, 2] += 0.5
    spotted = blues.clone()
    spotted[..., :10, :10] = torch.tensor([0.2, 0.7, 0.3]).view(1, 3, 1, 1)
    assert float(divergence(blues, blues)) < 1e-9 < 1 < float(divergence(spotted, blues))
