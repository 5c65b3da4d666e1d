import pytest
import torch

from cnnlab.interpret.filter_structure import is_structured, noise_p_values, spatial_autocorrelation


def by_hand(w: torch.Tensor) -> float:
    """Of one (C, h, w) filter, pair by pair."""
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


def test_it_is_what_pairs_of_neighbours_say() -> None:
    filters = torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        spatial_autocorrelation(filters),
        torch.tensor([by_hand(w) for w in filters], dtype=torch.float64),
    )


def test_shades_stripes_and_chessboards_have_structure_and_zeros_none() -> None:
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")
    chess, stripes = 1.0 - 2 * ((rows + columns) % 2), 1.0 - 2 * (columns % 2)
    bank = torch.stack((torch.ones(5, 5), chess, stripes, torch.zeros(5, 5))).unsqueeze(1)
    assert spatial_autocorrelation(bank).tolist() == [1, 1, 1, 0]
    assert is_structured(bank).tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match="filters of 1x1 have no neighbouring weights"):
        spatial_autocorrelation(torch.ones(2, 3, 1, 1))


def test_noise_is_seldom_taken_for_structure() -> None:
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


def test_the_p_value_counts_noise_that_is_at_least_as_smooth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    null = torch.tensor([0.1, 0.2, 0.2, 0.7], dtype=torch.float64)
    monkeypatch.setattr(
        "cnnlab.interpret.filter_structure.noise_autocorrelation", lambda *shape: null
    )
    monkeypatch.setattr("cnnlab.interpret.filter_structure.NUM_NOISE_FILTERS", 4)
    monkeypatch.setattr(
        "cnnlab.interpret.filter_structure.spatial_autocorrelation",
        lambda filters: torch.tensor([0.05, 0.2, 0.9], dtype=torch.float64),
    )
    assert noise_p_values(torch.zeros(3, 1, 3, 3)).tolist() == pytest.approx([1.0, 4 / 5, 1 / 5])


def test_what_stands_out_is_as_benjamini_and_hochberg_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest p below its line takes all smaller ones with it, even those above their own."""
    p = torch.tensor([0.049, 0.9, 0.04, 0.045])
    monkeypatch.setattr("cnnlab.interpret.filter_structure.noise_p_values", lambda filters: p)
    assert is_structured(torch.zeros(4, 1, 3, 3), false_discovery_rate=0.07).tolist() == [
        True,
        False,
        True,
        True,
    ]
    assert is_structured(torch.zeros(4, 1, 3, 3), false_discovery_rate=0.05).tolist() == [False] * 4
    from scipy.stats import false_discovery_control

    for rate in (0.05, 0.06, 0.07, 0.2):
        assert (
            is_structured(torch.zeros(4, 1, 3, 3), false_discovery_rate=rate).tolist()
            == (false_discovery_control(p) <= rate).tolist()
        )
