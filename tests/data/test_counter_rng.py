import numpy as np
import pytest
import torch
from scipy import stats

from cnnlab.data.counter_rng import CounterRNG, as_signed_int64, splitmix64, splitmix64_tensor


def test_splitmix64_matches_reference_values() -> None:
    # The first outputs of SplitMix64 from the state 0, as published with its reference code.
    state, expected = 0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    for value in expected:
        state = state + 0x9E3779B97F4A7C15 & (1 << 64) - 1
        assert splitmix64(state) == value
        assert splitmix64_tensor(torch.tensor(as_signed_int64(state))).item() == as_signed_int64(
            value
        )


def test_uniform_depends_on_image_not_on_batch() -> None:
    index = torch.tensor([5, 17, 3, 99])
    whole = CounterRNG(1, 2, index).uniform("shift", 3)
    for i in range(4):
        assert torch.equal(CounterRNG(1, 2, index[i : i + 1]).uniform("shift", 3)[0], whole[i])
    assert torch.equal(CounterRNG(1, 2, index.flip(0)).uniform("shift", 3), whole.flip(0))


@pytest.mark.parametrize("other", [(2, 2, "shift"), (1, 3, "shift"), (1, 2, "affine")])
def test_uniform_changes_with_seed_epoch_and_operation(other: tuple[int, int, str]) -> None:
    index = torch.arange(5000)
    first, second = (
        CounterRNG(1, 2, index).uniform("shift", 2),
        CounterRNG(other[0], other[1], index).uniform(other[2], 2),
    )
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.05


def test_uniform_is_uniform_and_independent() -> None:
    u = CounterRNG(7, 0, torch.arange(50_000)).uniform("x", 3).double()
    assert u.min() >= 0 and u.max() < 1
    for column in u.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-3
    off_diagonal = torch.corrcoef(u.T) - torch.eye(3)
    assert off_diagonal.abs().max() < 0.02
    assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < 0.02


def test_alternating_uniform_changes_by_half_each_epoch() -> None:
    index = torch.arange(5000)
    first, second, third, last = (
        CounterRNG(3, epoch, index).alternating_uniform("flip") for epoch in (0, 1, 2, 7)
    )
    assert first.shape == (5000, 1) and torch.equal(first, third) and torch.equal(second, last)
    torch.testing.assert_close(
        (second - first).abs(), torch.full((5000, 1), 0.5), rtol=0, atol=1e-7
    )
    assert stats.kstest(second.flatten().double().numpy(), "uniform").pvalue > 1e-3
