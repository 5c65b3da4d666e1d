import pytest
import torch
from torch import Tensor

from cnnlab.style.color_transfer import (
    RGB_TO_YIQ,
    color_moments,
    luminance,
    luminance_as_rgb,
    match_colors,
    match_luminance,
    restore_content_colors,
)


def random_image(seed: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    mix = torch.rand(3, 3, generator=g)
    pixels = torch.einsum(
        "ij,njhw->nihw", mix / mix.sum(1, keepdim=True), torch.rand(1, 3, 20, 30, generator=g)
    )
    return low + (high - low) * pixels


def test_match_colors_matches_mean_and_covariance() -> None:
    style, content = random_image(0), random_image(1, 0.4, 0.6)
    for result, expected in zip(
        color_moments(match_colors(style, content)), color_moments(content), strict=True
    ):
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-5)
    mean, covariance = color_moments(content)
    pixels = content.double().flatten(2)[0]
    torch.testing.assert_close(covariance, torch.cov(pixels, correction=0))
    torch.testing.assert_close(mean.squeeze(1), pixels.mean(1))


def test_match_colors_does_not_depend_on_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    style, content = random_image(0), random_image(1, 0.4, 0.6)
    expected = match_colors(style, content)
    monkeypatch.setattr("cnnlab.style.color_transfer.COLOR_BLOCK_PIXELS", 77)
    torch.testing.assert_close(match_colors(style, content), expected, rtol=0, atol=1e-6)
    channels_last = style.contiguous(memory_format=torch.channels_last)
    assert torch.equal(
        match_colors(channels_last, content), match_colors(style, content)
    ) and torch.equal(channels_last, style)


def test_match_colors_with_itself_is_identity() -> None:
    image = random_image(2)
    torch.testing.assert_close(match_colors(image, image), image, rtol=0, atol=1e-4)


def test_matching_a_uniform_image_is_finite() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert bool(match_colors(flat, random_image(1)).isfinite().all()) and bool(
        match_luminance(flat, random_image(1)).isfinite().all()
    )


def test_restore_content_colors_combines_luminance_and_chroma() -> None:
    stylized, content = random_image(3, 0.3, 0.7), random_image(4, 0.45, 0.55)
    recolored = restore_content_colors(stylized, content)
    torch.testing.assert_close(luminance(recolored), luminance(stylized), rtol=0, atol=1e-5)
    for row in RGB_TO_YIQ[1:]:
        chroma = [
            (image * torch.tensor(row).view(1, 3, 1, 1)).sum(1) for image in (recolored, content)
        ]
        torch.testing.assert_close(*chroma, rtol=0, atol=1e-5)
    torch.testing.assert_close(restore_content_colors(content, content), content, rtol=0, atol=1e-5)


def test_match_luminance_matches_mean_and_std() -> None:
    style, content = random_image(5), random_image(6, 0.4, 0.6)
    matched = match_luminance(style, content)
    assert torch.equal(matched[:, 0], matched[:, 1]) and torch.equal(matched[:, 0], matched[:, 2])
    expected = luminance(content)
    assert float(matched[:, :1].mean()) == pytest.approx(float(expected.mean()), abs=1e-5)
    assert float(matched[:, :1].std()) == pytest.approx(float(expected.std()), rel=1e-3)
    assert torch.equal(luminance_as_rgb(content)[:, 1:2], expected) and luminance(
        torch.ones(1, 3, 1, 1)
    ).item() == pytest.approx(1)
