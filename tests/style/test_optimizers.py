import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from cnnlab.style.optimizers import LBFGS, Adam, dot

SHAPE = (1, 3, 3, 4)
N = 36
ADAM_OPTIONS = {"lr": 0.05, "betas": [0.9, 0.99], "ema_decay": 0.9}


def make_quadratic(seed: int):  # type: ignore[no-untyped-def]
    """Return (x - c)^T H (x - c) / 2 of a badly scaled H, H and c; c is outside 0..1 in places."""
    g = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(N, N, generator=g, dtype=torch.float64))[0]
    H = (rotation * torch.logspace(0, 3, N, dtype=torch.float64)) @ rotation.T
    c = torch.rand(N, generator=g, dtype=torch.float64) * 1.6 - 0.3

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        difference = x.reshape(-1) - c
        return torch.stack([difference @ H @ difference / 2]), (H @ difference).view(SHAPE)

    return loss, H, c


def minimize_with_scipy(h: np.ndarray, low: np.ndarray) -> OptimizeResult:
    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        return (x - low) @ h @ (x - low) / 2, h @ (x - low)

    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 9999, "maxfun": 99999}
    return minimize(
        loss, np.full(N, 0.5), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * N, options=options
    )


def make_gray_image() -> Tensor:
    return torch.full(SHAPE, 0.5, dtype=torch.float64)


def test_lbfgs_minimum_equals_scipy() -> None:
    for seed in range(5):
        loss, H, c = make_quadratic(seed)
        optimizer = LBFGS(loss, make_gray_image(), history_size=20)
        values = [optimizer.value]
        while optimizer.step() and len(values) < 2000:
            values.append(optimizer.value)
            assert float(optimizer.image.min()) >= 0 and float(optimizer.image.max()) <= 1
        assert all(after <= before for before, after in itertools.pairwise(values))
        expected = minimize_with_scipy(H.numpy(), c.numpy())
        assert optimizer.value == pytest.approx(expected.fun, rel=1e-6)
        np.testing.assert_allclose(optimizer.image.reshape(-1).numpy(), expected.x, atol=1e-3)
        # A bound is active.
        assert bool((optimizer.image == 0).any() | (optimizer.image == 1).any())


def test_lbfgs_direction_equals_dense_matrix() -> None:
    """The two-loop recursion against H built up step by step (Nocedal & Wright, 7.16 and 7.19)."""
    loss, _, _ = make_quadratic(0)
    optimizer = LBFGS(loss, make_gray_image(), history_size=5)
    for _ in range(4):
        assert optimizer.step()
    s, y = (
        [entry[i].permute(0, 2, 3, 1).reshape(-1) for entry in optimizer.history] for i in (0, 1)
    )
    rho = [entry[2] for entry in optimizer.history]
    H = torch.eye(N, dtype=torch.float64) / (rho[-1] * (y[-1] @ y[-1]))
    for si, yi, ri in zip(s, y, rho, strict=True):
        V = torch.eye(N, dtype=torch.float64) - ri * torch.outer(yi, si)
        H = V.T @ H @ V + ri * torch.outer(si, si)
    g = optimizer.gradient
    result = optimizer.compute_direction(g).permute(0, 2, 3, 1).reshape(-1)
    torch.testing.assert_close(result, -H @ g.permute(0, 2, 3, 1).reshape(-1))


def test_lbfgs_never_accepts_a_nonfinite_loss() -> None:
    """A cliff of NaN between the start and the minimum of a steep slope."""

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        value = (x - 0.9).square().sum()
        return torch.stack([value if float(x.max()) < 0.52 else value * float("nan")]), 2 * (
            x - 0.9
        )

    optimizer = LBFGS(loss, make_gray_image(), history_size=5)
    while optimizer.step():
        assert bool(optimizer.terms.isfinite().all()) and float(optimizer.image.max()) < 0.52
    assert optimizer.num_nonfinite > 0 and float(optimizer.image.max()) > 0.51


def test_lbfgs_stops_at_a_minimum() -> None:
    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([(x - 2).square().sum()]), 2 * (x - 2)

    optimizer = LBFGS(loss, torch.ones(SHAPE), history_size=5)
    assert not optimizer.step() and bool((optimizer.image == 1).all())


def test_adam_equals_torch() -> None:
    loss, _, _ = make_quadratic(1)
    result = Adam(loss, make_gray_image(), lr=0.001, betas=[0.9, 0.99], ema_decay=0.0)
    expected = make_gray_image().requires_grad_()
    reference = torch.optim.Adam([expected], lr=0.001, betas=(0.9, 0.99), eps=1e-12)
    for _ in range(30):
        assert result.step()
        expected.grad = loss(expected.detach())[1]
        reference.step()
    torch.testing.assert_close(result.x, expected.detach())
    # An average with decay 0 is the last iterate.
    torch.testing.assert_close(result.image, result.x)


def test_adam_image_is_ema_within_bounds() -> None:
    loss, _, _c = make_quadratic(2)
    optimizer, iterates = Adam(loss, make_gray_image(), **ADAM_OPTIONS), []
    for _ in range(300):
        assert optimizer.step()
        iterates.append(optimizer.x)
        assert float(optimizer.x.min()) >= 0 and float(optimizer.x.max()) <= 1
    weights = torch.tensor([0.9**i for i in range(300)][::-1], dtype=torch.float64)
    mean = (torch.stack(iterates) * (weights / weights.sum()).view(-1, 1, 1, 1, 1)).sum(0)
    torch.testing.assert_close(optimizer.image, mean)
    assert float(loss(optimizer.image)[0]) < float(loss(make_gray_image())[0]) / 10


def test_adam_restarts_after_a_nonfinite_loss() -> None:
    nonfinite_calls = {7, 8}
    calls = 0

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        value = (x - 0.9).square().sum() * (float("nan") if calls in nonfinite_calls else 1)
        return torch.stack([value]), 2 * (x - 0.9)

    optimizer = Adam(loss, make_gray_image(), **ADAM_OPTIONS)
    for _ in range(60):
        assert optimizer.step() and bool(optimizer.image.isfinite().all())
    assert (
        optimizer.num_nonfinite >= 1 and optimizer.lr < 0.05 and float(optimizer.image.mean()) > 0.8
    )
    failing = Adam(
        lambda x: (torch.stack([x.sum() * float("nan")]), x), make_gray_image(), **ADAM_OPTIONS
    )
    steps = 0
    while failing.step():
        steps += 1
    assert steps < 20


def test_adam_rescales_moments() -> None:
    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([(x - 0.2).square().mean()]), 2 * (x - 0.2) / x.numel()

    small = Adam(loss, make_gray_image(), **ADAM_OPTIONS)
    for _ in range(20):
        small.step()
    big = small.rescale(loss, torch.nn.functional.interpolate(small.image, (6, 8)), 0)
    torch.testing.assert_close(big.first_moment.mean() * 4, small.first_moment.mean())
    torch.testing.assert_close(big.second_moment.mean() * 16, small.second_moment.mean())
    assert big.first_moment.shape == (1, 3, 6, 8) and big.steps == small.steps and big.step()


@pytest.mark.parametrize("keys", [{"lr": 0.0}, {"lr": 2.0}, {"betas": [0.9]}, {"ema_decay": 1.0}])
def test_invalid_optimizer_settings_are_refused(keys: dict[str, object]) -> None:
    loss, _, _ = make_quadratic(0)
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        Adam(loss, make_gray_image(), **(ADAM_OPTIONS | keys))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="history_size must be at least 1"):
        LBFGS(loss, make_gray_image(), history_size=0)


def test_dot_does_not_depend_on_memory_format() -> None:
    a, b = torch.rand(2, 1, 3, 4, 5)
    channels_last = a.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(dot(channels_last, b), (a * b).sum())
