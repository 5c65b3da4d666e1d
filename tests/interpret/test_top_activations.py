import torch

from cnnlab.interpret.top_activations import Peaks


def test_the_peaks_are_those_of_all_maps_at_once_whatever_the_batches() -> None:
    maps = torch.randn(23, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    for size in (1, 7, 23):
        peaks = Peaks(3)
        for part in maps.split(size):
            peaks.add(part)
        best = maps.flatten(2).amax(2).sort(0, descending=True)
        assert torch.equal(peaks.value, best.values[:3]) and torch.equal(peaks.picture, best.indices[:3])
        for rank in range(3):
            for k in range(5):
                where = (peaks.picture[rank, k], k, peaks.row[rank, k], peaks.column[rank, k])
                assert maps[where] == peaks.value[rank, k]


def test_units_without_a_place_and_channels_that_never_answer() -> None:
    peaks = Peaks(2)
    peaks.add(torch.tensor([[1.0, 0.0, -2.0]]))
    assert peaks.value.shape == (1, 3), "fewer pictures than asked for"
    peaks.add(torch.tensor([[3.0, 0.0, -1.0], [3.0, 0.0, -5.0]]))
    assert peaks.value.tolist() == [[3, 0, -1], [3, 0, -2]]
    assert peaks.picture[:, 0].tolist() == [1, 2], "of equals the first"
    assert peaks.row.sum() == 0 and peaks.dead.tolist() == [False, True, True]
