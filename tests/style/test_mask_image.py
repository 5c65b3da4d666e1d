"""Masks as files: their grays, sizes, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.core.errors import UsageError
from cnnlab.style.mask_image import read_mask_image, read_masks, stack_masks

MAX_PIXELS = 10_000


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A mask of 24x16 pixels, white on the right."""
    values = np.zeros((16, 24), np.uint8)
    values[:, 12:] = 255
    Image.fromarray(values).save(tmp_path / "half.png")
    return tmp_path / "half.png"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_grays_are_those_of_the_file_in_every_mode(half: Path, mode: str) -> None:
    image = Image.open(half)
    if mode == "I;16":
        converted = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    else:
        converted = image.convert(mode)
    converted.save(half.with_name("other.png"))
    mask = read_mask_image(str(half.with_name("other.png")), MAX_PIXELS)
    assert np.array_equal(np.asarray(mask.gray), np.asarray(image))


def test_transparent_pixels_are_black(half: Path) -> None:
    painted = Image.new("RGBA", (24, 16), (255, 255, 255, 255))
    painted.putalpha(Image.open(half))
    painted.save(half.with_name("painted.png"))
    mask = read_mask_image(str(half.with_name("painted.png")), MAX_PIXELS)
    assert np.array_equal(np.asarray(mask.gray), np.asarray(Image.open(half)))


@pytest.mark.parametrize("size", [(16, 24), (8, 12), (4, 6), (32, 48)])
def test_resized_mask_keeps_its_halves(half: Path, size: tuple[int, int]) -> None:
    x = read_mask_image(str(half), MAX_PIXELS).at_size(size)
    middle, edge = size[1] // 2, size[0] > 16
    assert x.shape == (1, 1, *size) and float(x.mean()) == pytest.approx(0.5, abs=1e-3)
    assert not x[..., : middle - edge].any() and (x[..., middle + edge :] == 1).all()


def test_masks_are_stacked_in_order(half: Path) -> None:
    Image.new("L", (24, 16), 51).save(half.with_name("gray.png"))
    masks = read_masks([str(half), str(half.with_name("gray.png"))], MAX_PIXELS)
    at_size = stack_masks(masks, torch.device("cpu"))
    assert at_size is not None and at_size((4, 6))[:, 0, 0, 5].tolist() == [1, pytest.approx(0.2)]
    assert stack_masks([], torch.device("cpu")) is None


def test_colors_and_black_are_refused_with_the_name(half: Path) -> None:
    Image.new("RGB", (24, 16), (200, 30, 30)).save(half.with_name("red.png"))
    Image.new("L", (24, 16), 0).save(half.with_name("black.png"))
    for name, message in (("red.png", "red.png has colors"), ("black.png", "is black everywhere")):
        with pytest.raises(UsageError, match=message):
            read_masks([str(half.with_name(name))], MAX_PIXELS)
