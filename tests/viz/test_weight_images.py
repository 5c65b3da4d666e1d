import numpy as np
import torch

from cnnlab.core.hooks import get_first_layer_weights
from cnnlab.models.cnn import cnn, mlp
from cnnlab.viz.weight_images import make_filter_sheet, make_image_sheet


def test_the_first_layer_is_found_in_either_kind_of_network() -> None:
    shape = (1, 8, 8)
    convolution = cnn(
        shape,
        10,
        pool="max",
        batch_norm=None,
        output="linear",
        filters=[4],
        extent=3,
        hidden=[5],
        dropout=0.0,
    )
    assert get_first_layer_weights(convolution, shape) is convolution.conv_1.conv.weight
    connected = mlp(shape, 10, hidden=[6], dropout=0.0)
    assert get_first_layer_weights(connected, shape).shape == (6, 1, 8, 8)
    assert get_first_layer_weights(connected, (1, 4, 4)) is None


def test_zero_is_mid_gray_and_each_filter_fills_its_range() -> None:
    weights = torch.zeros(4, 1, 3, 3)
    weights[1, 0, 0, 0], weights[2, 0, 0, 0] = 0.001, -7.0
    sheet = make_filter_sheet(weights)
    zoom = 40 // 3
    corner = [
        sheet[3 + row * (3 * zoom + 3), 3 + column * (3 * zoom + 3)]
        for row in (0, 1)
        for column in (0, 1)
    ]
    assert corner == [128, 255, 0, 128]
    assert make_filter_sheet(torch.randn(100, 3, 5, 5)).shape[2] == 3
    assert make_filter_sheet(torch.randn(2, 64, 5, 5)).ndim == 2


def test_images_share_one_range() -> None:
    images = torch.stack([torch.full((1, 4, 4), value) for value in (-1.0, 0.0, 1.0)])
    sheet = make_image_sheet(images)
    assert set(np.unique(sheet)) == {0, 128, 255}
    assert make_image_sheet(torch.zeros(2, 3, 4, 4)).shape[2] == 3
