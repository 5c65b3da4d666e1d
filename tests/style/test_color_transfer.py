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


def picture(seed: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    mix = torch.rand(3, 3, generator=g)
    pixels = torch.einsum(
        "ij,njhw->nihw", mix / mix.sum(1, keepdim=True), torch.rand(1, 3, 20, 30, generator=g)
    )
    return low + (high - low) * pixels


def test_match_colors_matches_mean_and_covariance() -> None:
    painting, photograph = picture(0), picture(1, 0.4, 0.6)
    for ours, theirs in zip(
        color_moments(match_colors(painting, photograph)), color_moments(photograph), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    mean, covariance = color_moments(photograph)
    pixels = photograph.double().flatten(2)[0]
    torch.testing.assert_close(covariance, torch.cov(pixels, correction=0))
    torch.testing.assert_close(mean.squeeze(1), pixels.mean(1))


def test_match_colors_does_not_depend_on_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    painting, photograph = picture(0), picture(1, 0.4, 0.6)
    whole = match_colors(painting, photograph)
    monkeypatch.setattr("cnnlab.style.color_transfer.COLOR_BLOCK_PIXELS", 77)
    torch.testing.assert_close(match_colors(painting, photograph), whole, rtol=0, atol=1e-6)
    columns = painting.contiguous(memory_format=torch.channels_last)
    assert torch.equal(
        match_colors(columns, photograph), match_colors(painting, photograph)
    ) and torch.equal(columns, painting)


def test_match_colors_with_itself_is_identity() -> None:
    same = picture(2)
    torch.testing.assert_close(match_colors(same, same), same, rtol=0, atol=1e-4)


def test_matching_a_uniform_image_is_finite() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert bool(match_colors(flat, picture(1)).isfinite().all()) and bool(
        match_luminance(flat, picture(1)).isfinite().all()
    )


def test_restore_content_colors_combines_luminance_and_chroma() -> None:
    painted, photograph = picture(3, 0.3, 0.7), picture(4, 0.45, 0.55)
    both = restore_content_colors(painted, photograph)
    torch.testing.assert_close(luminance(both), luminance(painted), rtol=0, atol=1e-5)
    for row in RGB_TO_YIQ[1:]:
        chroma = [(one * torch.tensor(row).view(1, 3, 1, 1)).sum(1) for one in (both, photograph)]
        torch.testing.assert_close(*chroma, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        restore_content_colors(photograph, photograph), photograph, rtol=0, atol=1e-5
    )


def test_match_luminance_matches_mean_and_std() -> None:
    painting, photograph = picture(5), picture(6, 0.4, 0.6)
    made = match_luminance(painting, photograph)
    assert torch.equal(made[:, 0], made[:, 1]) and torch.equal(made[:, 0], made[:, 2])
    known = luminance(photograph)
    assert float(made[:, :1].mean()) == pytest.approx(float(known.mean()), abs=1e-5)
    assert float(made[:, :1].std()) == pytest.approx(float(known.std()), rel=1e-3)
    assert torch.equal(luminance_as_rgb(photograph)[:, 1:2], known) and luminance(
        torch.ones(1, 3, 1, 1)
    ).item() == pytest.approx(1)
