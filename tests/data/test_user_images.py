"""A user's images, adapted to a data set."""

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.data.user_images import adapt_image


def test_adapt_image_pads_drawings_and_crops_photographs() -> None:
    wide = Image.fromarray(np.tile(np.arange(40, dtype=np.uint8) * 5, (20, 1))).convert("RGB")
    padded, changes = adapt_image(wide, (3, 8, 8), light_on_dark=True)
    assert changes == ["40x20 padded, resized to 8x8"] and len(padded[0, 0].unique()) == 1
    cropped, _ = adapt_image(wide, (3, 8, 8), light_on_dark=False)
    assert (
        cropped.shape == (3, 8, 8)
        and cropped.dtype == torch.uint8
        and len(cropped[0, 0].unique()) == 8
    )


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000)])
@pytest.mark.parametrize("light_on_dark", [False, True])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12)])
def test_the_thinnest_image_is_adapted(
    size: tuple[int, int], light_on_dark: bool, shape: tuple[int, int, int]
) -> None:
    image = Image.new("L", size, 40)
    pixels, changes = adapt_image(image, shape, light_on_dark=light_on_dark)
    assert pixels.shape == shape and set(pixels.unique().tolist()) == {40}
    assert "x".join(map(str, size)) in changes[-1]
