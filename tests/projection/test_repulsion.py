import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from cnnlab.projection import knn
from cnnlab.projection import repulsion as module
from cnnlab.projection.repulsion import (
    MAX_EXACT_POINTS,
    MAX_MESH_SPACING,
    MESH_MARGIN,
    MESH_SPACING,
    cubic_b_splines,
    exact_repulsion,
    kernel_transform,
    mesh_repulsion,
    next_fast_length,
    repulsive_forces,
)

RNG = torch.Generator().manual_seed(0)


def normal_points(n: int) -> Tensor:
    return torch.randn(n, 2, generator=RNG, dtype=torch.float64)


def clustered_points(n: int) -> Tensor:
    return 40 * normal_points(10)[torch.randint(10, (n,), generator=RNG)] + 4 * normal_points(n)


def relative_errors(
    actual: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]
) -> tuple[float, float]:
    """Return the relative errors of F and of Z."""
    (f, z), (F, Z) = actual, expected
    return float((f - F).norm() / F.norm()), float((z - Z).abs() / Z)


MAPS = {
    "clusters": clustered_points(3000),
    "one cloud": 10 * normal_points(3000),
    "spread out": 30 * normal_points(4000),
    "a line": normal_points(2000) * torch.tensor([20.0, 0.0]),
}


def test_exact_repulsion_is_the_sum_over_all_pairs() -> None:
    y = 3 * normal_points(40)
    F, Z = np.zeros((40, 2)), 0.0
    for i, point in enumerate(y.numpy()):
        for j, other_point in enumerate(y.numpy()):
            q = 1 / (1 + ((point - other_point) ** 2).sum())
            F[i] += q**2 * (point - other_point)
            Z += q * (i != j)
    actual = exact_repulsion(y)
    assert np.allclose(actual[0].numpy(), F, rtol=1e-12, atol=1e-12)
    assert float(actual[1]) == pytest.approx(Z, rel=1e-12)


def test_forces_are_minus_a_quarter_of_the_gradient_of_z() -> None:
    y = normal_points(30).requires_grad_()
    F, Z = exact_repulsion(y.detach())
    d = (y.unsqueeze(1) - y).square().sum(2)
    total = (1 / (1 + d)).sum()
    total.backward()
    assert total.item() - 30 == pytest.approx(float(Z)) and torch.allclose(F, y.grad / -4)


def test_exact_repulsion_does_not_depend_on_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    y = 5 * normal_points(101)
    expected = exact_repulsion(y)
    monkeypatch.setattr(knn, "MAX_BLOCK_ELEMENTS", 500)
    assert max(relative_errors(exact_repulsion(y), expected)) < 1e-14


def test_exact_repulsion_in_float32_has_float32_precision() -> None:
    y = (25 * normal_points(500)).float()
    assert max(relative_errors(exact_repulsion(y), exact_repulsion(y.double()))) < 1e-6
    assert exact_repulsion(y)[0].dtype == torch.float32


@pytest.mark.parametrize("name", ["clusters", "one cloud", "a line"])
def test_mesh_error_is_bounded_and_decreases_with_spacing(name: str) -> None:
    y = MAPS[name]
    expected = exact_repulsion(y)
    coarse, middle, fine = (
        relative_errors(mesh_repulsion(y, MESH_SPACING * factor), expected)
        for factor in (2, 1, 0.5)
    )
    assert middle[0] < 0.02 and middle[1] < 2e-5
    assert middle[0] < coarse[0] / 4 and fine[0] < middle[0] / 4
    assert middle[1] < coarse[1] / 4 and fine[1] < middle[1] / 4


def test_mesh_is_accurate_where_forces_nearly_cancel() -> None:
    """An evenly spread map: the net force on a point is small relative to its terms."""
    assert (
        relative_errors(mesh_repulsion(MAPS["spread out"]), exact_repulsion(MAPS["spread out"]))[0]
        < 0.02
    )


def test_mesh_has_no_self_interaction() -> None:
    y = torch.tensor([[0.0, 0.0], [50.1, 0.0], [13.3, 40.7], [20.05, 33.1]], dtype=torch.float64)
    (F, Z), (all_pairs, expected) = mesh_repulsion(y), exact_repulsion(y)
    assert (F - all_pairs).abs().max() < 1e-7 and float(Z) == pytest.approx(
        float(expected), rel=1e-4
    )


@pytest.mark.parametrize(
    ("deviation", "max_force_error"),
    [(1e-6, 4e-3), (1e-4, 4e-3), (0.01, 2e-3), (0.1, 2e-4), (1, 5e-5)],
)
def test_mesh_is_accurate_for_small_maps(deviation: float, max_force_error: float) -> None:
    y = deviation * normal_points(2000)
    expected = exact_repulsion(y)
    force_error, z_error = relative_errors(mesh_repulsion(y), expected)
    assert force_error < max_force_error and z_error < 1e-5
    if deviation >= 1e-4:
        force_error, z_error = relative_errors(mesh_repulsion(y.float()), expected)
        assert force_error < 0.02 and z_error < 1e-4


def test_mesh_in_float32_matches_float64() -> None:
    y = MAPS["clusters"]
    F, Z = mesh_repulsion(y.float())
    assert F.dtype == torch.float32 and Z.dtype == torch.float64
    assert (
        relative_errors((F, Z), mesh_repulsion(y))[0] < 1e-4
        and relative_errors((F, Z), mesh_repulsion(y))[1] < 1e-6
    )


@pytest.mark.parametrize("f", [exact_repulsion, mesh_repulsion])
def test_repulsion_is_permutation_equivariant(f: type[exact_repulsion]) -> None:  # type: ignore[valid-type]
    y = MAPS["clusters"][:2000]
    order = torch.randperm(2000, generator=RNG)
    (F, Z), (permuted, Z_permuted) = f(y), f(y[order])
    assert (permuted - F[order]).abs().max() < 1e-10 * F.abs().max()
    assert float(Z_permuted) == pytest.approx(float(Z), rel=1e-12)


@pytest.mark.parametrize("shift", [(1000.0, -3.3), (0.1, 0.2), (-1e-3, 77.77)])
def test_mesh_is_translation_invariant(shift: tuple[float, float]) -> None:
    y = MAPS["clusters"]
    assert max(relative_errors(mesh_repulsion(y + torch.tensor(shift)), mesh_repulsion(y))) < 1e-9


def test_mesh_is_rotation_and_reflection_equivariant() -> None:
    y = MAPS["clusters"]
    F, _ = mesh_repulsion(y)
    mirrored, swapped = (
        mesh_repulsion(y * torch.tensor([-1, 1]))[0] * torch.tensor([-1, 1]),
        mesh_repulsion(y.flip(1))[0].flip(1),
    )
    assert (swapped - F).norm() < 1e-9 * F.norm()
    assert (mirrored - F).norm() < 0.025 * F.norm()  # its lines fall elsewhere


@pytest.mark.parametrize("f", [exact_repulsion, mesh_repulsion])
def test_forces_sum_to_zero(f: type[exact_repulsion]) -> None:  # type: ignore[valid-type]
    F, _ = f(MAPS["one cloud"])
    assert F.sum(0).norm() < 1e-10 * F.norm(dim=1).sum()


def test_coincident_points_do_not_repel() -> None:
    for f in (exact_repulsion, mesh_repulsion):
        F, Z = f(torch.full((1600, 2), 3.0, dtype=torch.float64))
        assert F.abs().max() < 1e-8 and float(Z) == pytest.approx(1600 * 1599)


def test_method_depends_on_the_number_of_points() -> None:
    small, large = normal_points(MAX_EXACT_POINTS), normal_points(MAX_EXACT_POINTS + 1)
    assert torch.equal(repulsive_forces(small)[0], exact_repulsion(small)[0])
    assert torch.equal(repulsive_forces(large)[0], mesh_repulsion(large)[0])


def test_wide_map_has_wider_spacing_and_too_wide_map_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_MESH_LINES", 512)
    sides: list[tuple[int, float]] = []
    monkeypatch.setattr(
        module,
        "kernel_transform",
        lambda *arguments: sides.append(arguments[:2]) or kernel_transform(*arguments),
    )
    y = MAPS["clusters"] / (MAPS["clusters"].max(0).values - MAPS["clusters"].min(0).values).max()
    widest = y * MAX_MESH_SPACING * (256 - MESH_MARGIN)
    F, Z = relative_errors(mesh_repulsion(widest * 0.999), exact_repulsion(widest * 0.999))
    ((side, spacing),) = set(sides)
    assert side <= 512 and MESH_SPACING < spacing <= MAX_MESH_SPACING and F < 0.15 and Z < 0.01
    for y_out_of_range in (widest * 1.001, y * math.nan, y * math.inf):
        with pytest.raises(ValueError, match="use a lower lr"):
            mesh_repulsion(y_out_of_range)


def test_kernel_potential_is_exact_on_mesh_lines() -> None:
    """The potential of one charge is 1 / (1 + d^2): the splines and their inverse cancel."""
    spread = torch.zeros(24, 24, dtype=torch.float64)
    weights = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64) / 6
    spread[3:6, 3:6] = weights.outer(weights)
    phi = torch.fft.irfft2(
        torch.fft.rfft2(spread) * kernel_transform(24, 0.5, torch.float64, torch.device("cpu")),
        s=(24, 24),
    )
    for i, j in ((4, 4), (4, 9), (11, 6), (20, 20)):
        window = phi.roll((1 - i, 1 - j), (0, 1))[:3, :3]
        across, along = (min(abs(at - 4), 24 - abs(at - 4)) * 0.5 for at in (i, j))
        assert float(weights @ window @ weights) == pytest.approx(
            1 / (1 + across**2 + along**2), rel=1e-12
        )


def test_kernel_has_the_maps_precision() -> None:
    cpu = torch.device("cpu")
    assert kernel_transform(12, 0.4, torch.float32, cpu).dtype == torch.complex64
    assert kernel_transform(12, 0.4, torch.float64, cpu).dtype == torch.complex128
    assert kernel_transform(12, 0.4, torch.float64, cpu).shape == (12, 7)


def test_splines_match_scipy_and_sum_to_one() -> None:
    t = torch.linspace(0, 1, 50, dtype=torch.float64)[:-1]
    values, slopes = cubic_b_splines(t)
    assert torch.allclose(values.sum(1), torch.ones_like(t)) and slopes.sum(1).abs().max() < 1e-15
    basis = BSpline.basis_element(np.arange(-2, 3))
    for line in range(4):  # at -1, 0, 1 and 2
        assert np.allclose(values[:, line].numpy(), basis(t.numpy() + 1 - line), atol=1e-15)
        assert np.allclose(
            slopes[:, line].numpy(), basis.derivative()(t.numpy() + 1 - line), atol=1e-14
        )
    h = 1e-5
    assert torch.allclose(
        (cubic_b_splines(t + h)[0] - cubic_b_splines(t - h)[0]) / (2 * h), slopes, atol=1e-8
    )


@pytest.mark.parametrize(
    ("minimum", "expected"), [(2, 2), (7, 8), (10, 10), (11, 12), (13, 16), (46, 48), (542, 576)]
)
def test_next_fast_length_has_no_large_prime_factors(minimum: int, expected: int) -> None:
    assert next_fast_length(minimum) == expected


def test_next_fast_length_is_minimal() -> None:
    products = sorted(2**a * 3**b * 5**c for a in range(1, 14) for b in range(9) for c in range(7))
    for minimum in range(2, 5000, 37):
        assert next_fast_length(minimum) == next(n for n in products if n >= minimum)
