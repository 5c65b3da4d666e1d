import pytest
import torch
from torch.nn.functional import interpolate, pad

from cnnlab.style.canvas import canvas_size, crop_canvas, extend_to_canvas, resize_canvas

IMAGE = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("margin", [0, 1, 5, 8])
def test_margin_is_a_reflection(margin: int) -> None:
    canvas = extend_to_canvas(IMAGE, margin)
    assert torch.equal(canvas, pad(IMAGE, (margin,) * 4, mode="reflect"))
    assert canvas.shape[2:] == canvas_size((9, 12), margin)
    assert torch.equal(crop_canvas(canvas, margin), IMAGE)


def test_margin_wider_than_the_image_is_reflected_repeatedly() -> None:
    row = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3)
    canvas = extend_to_canvas(row, 5)
    assert canvas[0, 0, 0].tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]
    assert canvas.shape[2] == 11 and bool((canvas == canvas[:, :, :1]).all())


def test_resized_canvas_is_that_of_the_resized_image() -> None:
    canvas = extend_to_canvas(IMAGE, 4)
    resized = interpolate(IMAGE, (13, 17), mode="bicubic", align_corners=False)
    assert torch.equal(resize_canvas(canvas, (13, 17), 4), extend_to_canvas(resized, 4))
    assert resize_canvas(canvas, (9, 12), 4) is canvas
