import torch

from cnnlab.data.operation import as_float, as_uint8, select_per_image


def test_select_per_image_matches_torch_where() -> None:
    x, other, mask = torch.rand(7, 3, 4, 5), torch.rand(7, 3, 4, 5), torch.rand(7) < 0.5
    assert torch.equal(
        select_per_image(mask, x, other), torch.where(mask.view(-1, 1, 1, 1), x, other)
    )
    for all_or_none in (torch.ones(7, dtype=torch.bool), torch.zeros(7, dtype=torch.bool)):
        assert torch.equal(
            select_per_image(all_or_none, x, other), x if all_or_none.all() else other
        )


def test_uint8_float_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(as_uint8(as_float(levels)), levels)
    assert as_uint8(torch.tensor([-0.1, 1.2, 0.5])).tolist() == [0, 255, 128]
    assert as_uint8(levels) is levels and as_float(as_float(levels)) is not levels
