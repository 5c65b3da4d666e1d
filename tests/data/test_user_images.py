"""A user's images, adapted to a data set."""

import numpy as np
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
