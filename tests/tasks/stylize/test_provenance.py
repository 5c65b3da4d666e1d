import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.style.vgg import TORCHVISION_CONVENTION, conv_channels, init_random_vgg
from cnnlab.style.vgg_weights import save_vgg_weights
from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.conftest import Cnnlab
from tests.tasks.conftest import Stylize, pixels


@pytest.mark.parametrize(
    "words",
    [
        ["strength=0.6", "start=noise", "seed=3", "total_variation=0.1", "style_scale=0.7"],
        ["optimizer=adam", "color=matched", "threads=1", "style=chapter", "ratio=1e-3"],
        ["color=content", "features.pool=average", "precision=bfloat16", "time=0.6"],
    ],
    ids=" ".join,
)
def test_reproduce_is_bit_identical(stylize: Stylize, words: list[str]) -> None:
    stylize(*words, "out=first.png")
    stylize("--reproduce", "first.png", "out=second.png")
    assert np.array_equal(pixels("first.png"), pixels("second.png"))
    first, second = read_transfer_record("first.png"), read_transfer_record("second.png")
    assert (first["losses"], first["steps"]) == (second["losses"], second["steps"])


def test_reproduce_needs_the_order_of_styles(stylize: Stylize) -> None:
    three = ("photo.png", "one.png", "two.png")
    stylize("style_weights=[1,3]", "out=first.png", images=three)
    stylize("--reproduce", "first.png", "out=second.png", images=three)
    assert np.array_equal(pixels("first.png"), pixels("second.png"))
    stylize("--reproduce", "first.png", code=2, images=("photo.png", "two.png", "one.png"))


def test_reproduce_needs_the_same_weights(
    stylize: Stylize, image_folder: Path, cnnlab: Cnnlab
) -> None:
    stylize()
    other = init_random_vgg(
        conv_channels((2, 2, 4, 2, 1), (4, 6, 6, 8, 8)), torch.Generator().manual_seed(9)
    )
    save_vgg_weights(image_folder / "net.safetensors", other, TORCHVISION_CONVENTION)
    _, err = stylize("--reproduce", "photo_one.png", code=2)
    assert err == "cnnlab: photo_one.png was made with other weights than net.safetensors's\n"
    (image_folder / "net.safetensors").rename(image_folder / "moved.safetensors")
    code, _, err = cnnlab("stylize", "--reproduce", "photo_one.png", "photo.png", "one.png")
    assert (
        code == 2
        and "photo_one.png was made with net.safetensors: give its path by features.weights=FILE"
        in err
    )
    assert (
        "--reproduce and --score cannot be given together"
        in stylize("--reproduce", "photo_one.png", "--score", "one.png", code=2)[1]
    )


def test_reproduce_needs_the_same_images_and_settings(stylize: Stylize) -> None:
    stylize()
    _, err = stylize("--reproduce", "photo_one.png", code=2, images=("photo.png", "two.png"))
    assert err.startswith("cnnlab: photo_one.png was made from other images")
    _, err = stylize("--reproduce", "photo_one.png", "strength=1", code=2)
    assert (
        "--reproduce takes its settings from photo_one.png: style.strength=1 cannot be given with it"
        in err
    )
    assert "does not record how it was made" in stylize("--reproduce", "one.png", code=1)[1]
    Path("text.png").write_text("nothing")
    assert "does not record how it was made" in stylize("--reproduce", "text.png", code=1)[1]
    assert "no image absent.png" in stylize("--reproduce", "absent.png", code=1)[1]


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"style": {"name": "nothing"}}},
        {"settings": 3},
        {"steps": ["a"]},
        {"steps": []},
        {"steps": [1] * 50},
        {"sha256": {}},
        {"sha256": {"styles": None}},
        {"settings": {"\x1b[31mred": 1}},
        {"settings": {"lbfgs": {"memory": "x"}}},
    ],
)
def test_tampered_record_is_refused(stylize: Stylize, change: dict[str, Any]) -> None:
    from PIL import PngImagePlugin

    stylize()
    record = read_transfer_record("photo_one.png")
    for key, value in change.items():
        both = isinstance(value, dict) and value
        record[key] = record[key] | value if both else value
    text = PngImagePlugin.PngInfo()
    text.add_text("cnnlab", json.dumps(record))
    Image.open("photo_one.png").save("forged.png", pnginfo=text)
    out = Path("out.png")
    for code in (1, 2):
        try:
            _, err = stylize("--reproduce", "forged.png", "out=out.png", code=code)
        except AssertionError:
            continue
        assert err.startswith("cnnlab: ") and len(err.splitlines()) <= 2 and "--debug" not in err
        break
    else:
        raise AssertionError("it was not refused")
    assert not out.exists()
