import math

import pytest
import torch
from scipy import spatial

from cnnlab.projection.procrustes import procrustes

RNG = torch.Generator().manual_seed(0)
Y = torch.randn(50, 2, generator=RNG, dtype=torch.float64) * torch.tensor([3, 1]) + 5
OTHER = torch.randn(50, 2, generator=RNG, dtype=torch.float64)


def turned(angle: float, mirror: int) -> torch.Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return (
        torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        @ torch.diag(torch.tensor([1.0, mirror])).double()
    )


@pytest.mark.parametrize("mirror", [1, -1])
@pytest.mark.parametrize("angle", [0, 0.3, 2, -3])
def test_a_map_that_was_turned_mirrored_scaled_and_moved_is_laid_back(
    angle: float, mirror: int
) -> None:
    found, left = procrustes(Y, 0.01 * Y @ turned(angle, mirror) - 40)
    assert torch.allclose(found, Y, atol=1e-9) and left < 1e-12


def test_what_is_left_is_scipys_disparity() -> None:
    for share in (0, 0.5, 2):
        y = OTHER + share * Y
        found, left = procrustes(Y, y)
        assert left == pytest.approx(spatial.procrustes(Y.numpy(), y.numpy())[2]) and 0 < left < 1
        spread = (Y - Y.mean(0)).square().sum()
        assert float((found - Y).square().sum() / spread) == pytest.approx(left)


def test_no_map_near_the_one_found_lies_better() -> None:
    found, left = procrustes(Y, OTHER)
    spread = (Y - Y.mean(0)).square().sum()
    for angle, scale, shift in (
        (0.01, 1, 0),
        (-0.01, 1, 0),
        (0, 1.01, 0),
        (0, 0.99, 0),
        (0, 1, 0.01),
        (0, 1, -0.01),
    ):
        nudged = (found - found.mean(0)) @ turned(angle, 1) * scale + found.mean(0) + shift
        assert float((nudged - Y).square().sum() / spread) > left


def test_the_map_is_of_the_first_ones_precision() -> None:
    found, left = procrustes(Y.float(), OTHER)
    assert found.dtype == torch.float32 and left == pytest.approx(procrustes(Y, OTHER)[1], abs=1e-6)


def test_a_map_of_one_place_lies_in_the_middle() -> None:
    found, left = procrustes(Y, torch.ones(50, 2))
    assert torch.allclose(found, Y.mean(0).expand(50, 2)) and left == 1
    found, left = procrustes(torch.ones(50, 2), Y)
    assert torch.allclose(found, torch.ones(50, 2)) and 0 <= left <= 1
