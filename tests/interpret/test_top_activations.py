import torch

from cnnlab.interpret.top_activations import TopActivations


def test_top_activations_do_not_depend_on_the_batches() -> None:
    maps = torch.randn(23, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    for size in (1, 7, 23):
        top = TopActivations(3)
        for part in maps.split(size):
            top.update(part)
        best = maps.flatten(2).amax(2).sort(0, descending=True)
        assert torch.equal(top.values, best.values[:3]) and torch.equal(
            top.image_indices, best.indices[:3]
        )
        for rank in range(3):
            for k in range(5):
                where = (
                    top.image_indices[rank, k],
                    k,
                    top.rows[rank, k],
                    top.columns[rank, k],
                )
                assert maps[where] == top.values[rank, k]


def test_units_without_maps_and_dead_channels() -> None:
    top = TopActivations(2)
    top.update(torch.tensor([[1.0, 0.0, -2.0]]))
    assert top.values.shape == (1, 3), "fewer images than k"
    top.update(torch.tensor([[3.0, 0.0, -1.0], [3.0, 0.0, -5.0]]))
    assert top.values.tolist() == [[3, 0, -1], [3, 0, -2]]
    assert top.image_indices[:, 0].tolist() == [1, 2], "of equal values the first"
    assert top.rows.sum() == 0 and top.is_dead.tolist() == [False, True, True]
