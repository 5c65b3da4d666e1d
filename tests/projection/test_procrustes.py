import math

import pytest
import torch
from scipy import spatial

from cnnlab.projection.procrustes import procrustes

RNG = torch.Generator().manual_seed(0)
Y = torch.randn(50, 2, generator=RNG, dtype=torch.float64) * torch.tensor([3, 1]) + 5
OTHER = torch.randn(50, 2, generator=RNG, dtype=torch.float64)


def similarity_matrix(angle: float, mirror: int) -> torch.Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return (
        torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        @ torch.diag(torch.tensor([1.0, mirror])).double()
    )


@pytest.mark.parametrize("mirror", [1, -1])
@pytest.mark.parametrize("angle", [0, 0.3, 2, -3])
def test_similarity_transform_is_inverted(angle: float, mirror: int) -> None:
    aligned, residual = procrustes(Y, 0.01 * Y @ similarity_matrix(angle, mirror) - 40)
    assert torch.allclose(aligned, Y, atol=1e-9) and residual < 1e-12


def test_residual_matches_scipys_disparity() -> None:
    for share in (0, 0.5, 2):
        y = OTHER + share * Y
        aligned, residual = procrustes(Y, y)
        assert (
            residual == pytest.approx(spatial.procrustes(Y.numpy(), y.numpy())[2])
            and 0 < residual < 1
        )
        spread = (Y - Y.mean(0)).square().sum()
        assert float((aligned - Y).square().sum() / spread) == pytest.approx(residual)


def test_alignment_is_locally_optimal() -> None:
    aligned, residual = procrustes(Y, OTHER)
    spread = (Y - Y.mean(0)).square().sum()
    for angle, scale, shift in (
        (0.01, 1, 0),
        (-0.01, 1, 0),
        (0, 1.01, 0),
        (0, 0.99, 0),
        (0, 1, 0.01),
        (0, 1, -0.01),
    ):
        moved = (
            (aligned - aligned.mean(0)) @ similarity_matrix(angle, 1) * scale
            + aligned.mean(0)
            + shift
        )
        assert float((moved - Y).square().sum() / spread) > residual


def test_aligned_map_has_the_targets_dtype() -> None:
    aligned, residual = procrustes(Y.float(), OTHER)
    assert aligned.dtype == torch.float32 and residual == pytest.approx(
        procrustes(Y, OTHER)[1], abs=1e-6
    )


def test_constant_map_is_placed_at_the_center() -> None:
    aligned, residual = procrustes(Y, torch.ones(50, 2))
    assert torch.allclose(aligned, Y.mean(0).expand(50, 2)) and residual == 1
    aligned, residual = procrustes(torch.ones(50, 2), Y)
    assert torch.allclose(aligned, torch.ones(50, 2)) and 0 <= residual <= 1
