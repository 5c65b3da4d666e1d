"""A user's images, adapted to a data set."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.core.errors import CnnlabError
from cnnlab.data.decode import ImageDecoder
from cnnlab.data.user_images import (
    UserImageTarget,
    adapt_drawing,
    find_user_image_target,
    read_user_image,
)
from tests.data.conftest import write_noise

TURNED = {"exif": Image.Exif()}
TURNED["exif"][274] = 6  # by a quarter
FILES = [
    ("large.jpg", (900, 700), "RGB", {}),
    ("large gray.jpg", (700, 900), "L", {}),
    ("turned.jpg", (900, 700), "RGB", TURNED),
    ("large.png", (300, 260), "RGB", {}),
    ("small.png", (12, 9), "RGB", {}),
    ("transparent.png", (40, 90), "P", {"transparency": 3}),
    ("gray.png", (64, 64), "L", {}),
    ("thin.jpg", (600, 2), "RGB", {}),
    ("turned.tif", (60, 30), "RGB", {"tiffinfo": {274: 6}}),
]


@pytest.mark.parametrize(("name", "size", "mode", "options"), FILES)
@pytest.mark.parametrize("depth", [1, 3])
def test_network_gets_the_pixels_that_training_reads(
    name: str, size: tuple[int, int], mode: str, options: dict, depth: int, tmp_path: Path
) -> None:
    path = write_noise(tmp_path / name, 0, size, mode, **options)
    for side in (16, 32, 64, 224):
        target = UserImageTarget((depth, side, side), max_pixels=10**6)
        pixels, changes = read_user_image(path, target)
        trained = ImageDecoder(side, depth, 10**6)(str(path))
        assert np.array_equal(pixels.numpy(), trained), side
        width, height = size[::-1] if "turned" in name else size
        assert size == (side, side) or changes[-1].startswith(f"{width}x{height} ")


def test_images_of_a_folder_run_are_not_inverted_and_keep_its_limit(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "light.png", size=(20, 10))
    Image.new("RGB", (20, 10), "white").save(path)
    dataset = {"name": "folder", "light_on_dark": True, "max_pixels": 200}
    target = find_user_image_target(dataset, (3, 8, 8))
    pixels, changes = read_user_image(path, target)
    assert pixels.min() == 255 and changes == ["20x10 its center resized to 8x8"]
    with pytest.raises(CnnlabError, match=r"light\.png has 200 pixels; the limit is 199"):
        read_user_image(path, find_user_image_target(dataset | {"max_pixels": 199}, (3, 8, 8)))


def test_drawings_are_padded_and_photographs_cropped(tmp_path: Path) -> None:
    wide = Image.fromarray(np.tile(np.arange(40, dtype=np.uint8) * 5, (20, 1))).convert("RGB")
    padded, changes = adapt_drawing(wide, (3, 8, 8))
    assert changes == ["40x20 padded, resized to 8x8"] and len(padded[0, 0].unique()) == 1
    wide.save(tmp_path / "wide.png")
    cropped, _ = read_user_image(tmp_path / "wide.png", UserImageTarget((3, 8, 8)))
    assert cropped.shape == (3, 8, 8) and cropped.dtype == torch.uint8
    assert len(cropped[0, 0].unique()) == 8


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000)])
@pytest.mark.parametrize("is_drawing", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_thinnest_image_is_adapted(
    size: tuple[int, int], is_drawing: bool, depth: int, tmp_path: Path
) -> None:
    Image.new("L", size, 40).save(tmp_path / "thin.png")
    target = UserImageTarget((depth, 8, 8), is_drawing)
    pixels, changes = read_user_image(tmp_path / "thin.png", target)
    assert pixels.shape == target.shape and set(pixels.unique().tolist()) == {40}
    assert "x".join(map(str, size)) in changes[-1]
