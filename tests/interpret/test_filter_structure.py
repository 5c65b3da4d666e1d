import pytest
import torch

from cnnlab.interpret.filter_structure import (
    compute_monte_carlo_p_values,
    control_false_discoveries,
    is_structured,
    noise_p_values,
    spatial_autocorrelation,
)


def autocorrelation_of_pairs(w: torch.Tensor) -> float:
    """Return the autocorrelation of one (C, h, w) filter, pair by pair."""
    depth, height, width = w.shape
    square = sum(float(v) ** 2 for v in w.flatten()) / w.numel()
    cells = [(c, i, j) for c in range(depth) for i in range(height) for j in range(width)]
    ways = []
    for down, across in ((0, 1), (1, 0)):
        pairs = [
            float(w[c, i, j] * w[c, i + down, j + across])
            for c, i, j in cells
            if i + down < height and j + across < width
        ]
        ways.append(abs(sum(pairs) / len(pairs)) / square)
    return min(1.0, max(ways))


def test_autocorrelation_matches_a_loop_over_pairs() -> None:
    filters = torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        spatial_autocorrelation(filters),
        torch.tensor([autocorrelation_of_pairs(w) for w in filters], dtype=torch.float64),
    )


def test_shades_stripes_and_chessboards_have_structure_and_zeros_none() -> None:
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")
    chess, stripes = 1.0 - 2 * ((rows + columns) % 2), 1.0 - 2 * (columns % 2)
    bank = torch.stack((torch.ones(5, 5), chess, stripes, torch.zeros(5, 5))).unsqueeze(1)
    assert spatial_autocorrelation(bank).tolist() == [1, 1, 1, 0]
    assert is_structured(bank).tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match="filters of 1x1 have no neighboring weights"):
        spatial_autocorrelation(torch.ones(2, 3, 1, 1))


def test_p_values_of_noise_are_uniform() -> None:
    noise = torch.randn(4000, 1, 5, 5, generator=torch.Generator().manual_seed(7))
    p = noise_p_values(noise)
    for level in (0.01, 0.1, 0.5):  # p-values of noise are uniform
        assert (
            abs(float((p <= level).double().mean()) - level)
            < 4 * (level * (1 - level) / 4000) ** 0.5
        )
    assert (
        sum(is_structured(part).any().item() for part in noise.split(40)) <= 15
    )  # 5 % of 100, expected
    assert torch.equal(is_structured(noise[:9] * 1000), is_structured(noise[:9])), (
        "scale does not matter"
    )


def test_a_p_value_counts_the_null_values_that_are_at_least_as_large() -> None:
    null = torch.tensor([0.1, 0.2, 0.2, 0.7], dtype=torch.float64)
    statistics = torch.tensor([0.05, 0.2, 0.9], dtype=torch.float64)
    p_values = compute_monte_carlo_p_values(statistics, null)
    assert p_values.tolist() == pytest.approx([1.0, 4 / 5, 1 / 5])


def test_false_discoveries_are_controlled_as_by_benjamini_and_hochberg() -> None:
    """The largest p below its line takes all smaller ones with it, even those above their own."""
    p_values = torch.tensor([0.049, 0.9, 0.04, 0.045])
    assert control_false_discoveries(p_values, 0.07).tolist() == [True, False, True, True]
    assert control_false_discoveries(p_values, 0.05).tolist() == [False] * 4
