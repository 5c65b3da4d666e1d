import torch

from cnnlab.interpret.top_activations import TopActivations


def test_the_peaks_are_those_of_all_maps_at_once_whatever_the_batches() -> None:
    maps = torch.randn(23, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    for size in (1, 7, 23):
        peaks = TopActivations(3)
        for part in maps.split(size):
            peaks.update(part)
        best = maps.flatten(2).amax(2).sort(0, descending=True)
        assert torch.equal(peaks.values, best.values[:3]) and torch.equal(
            peaks.image_indices, best.indices[:3]
        )
        for rank in range(3):
            for k in range(5):
                where = (
                    peaks.image_indices[rank, k],
                    k,
                    peaks.rows[rank, k],
                    peaks.columns[rank, k],
                )
                assert maps[where] == peaks.values[rank, k]


def test_units_without_a_place_and_channels_that_never_answer() -> None:
    peaks = TopActivations(2)
    peaks.update(torch.tensor([[1.0, 0.0, -2.0]]))
    assert peaks.values.shape == (1, 3), "fewer pictures than asked for"
    peaks.update(torch.tensor([[3.0, 0.0, -1.0], [3.0, 0.0, -5.0]]))
    assert peaks.values.tolist() == [[3, 0, -1], [3, 0, -2]]
    assert peaks.image_indices[:, 0].tolist() == [1, 2], "of equals the first"
    assert peaks.rows.sum() == 0 and peaks.is_dead.tolist() == [False, True, True]
