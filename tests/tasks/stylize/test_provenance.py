"""The record in an image: read, reproduced, and those of version 0.1.0."""

import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.style.vgg import TORCHVISION_CONVENTION, conv_channels, init_random_vgg
from cnnlab.style.vgg_weights import save_vgg_weights
from cnnlab.tasks.stylize import provenance
from cnnlab.tasks.stylize.output import save_output_image
from cnnlab.tasks.stylize.provenance import (
    hash_settings,
    read_transfer_record,
    upgrade_settings,
)
from tests.conftest import Cnnlab
from tests.tasks.conftest import Stylize, make_settings, pixels

FIXTURE = Path(__file__).parents[2] / "fixtures" / "stylize_0_1_0"
COLORS = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
RECORD: dict[str, Any] = {
    "settings": {"name": "é"},
    "steps": [4, 3],
    "sha256": {"content": "f" * 64, "text": "x" * 3000},
}


@pytest.fixture
def old_image(image_folder: Path) -> Path:
    """An image that version 0.1.0 wrote, beside its content and style images."""
    for name in ("content", "style", "old"):
        shutil.copy(FIXTURE / f"{name}.png", image_folder)
    return image_folder / "old.png"


@pytest.mark.parametrize("flag", ["--reproduce", "--again"])
def test_image_of_version_0_1_0_is_reproduced(old_image: Path, cnnlab: Cnnlab, flag: str) -> None:
    code, _, err = cnnlab("stylize", flag, "old.png", "content.png", "style.png", "device=cpu")
    assert code == 0, err
    assert np.array_equal(pixels("old_2.png"), pixels("old.png"))
    old, new = (read_transfer_record(name) for name in ("old.png", "old_2.png"))
    assert new["sha256"] == old["sha256"] and new["steps"] == old["steps"]
    assert new["settings"] == upgrade_settings(old["settings"])


def test_upgrade_settings_renames_the_keys_of_version_0_1_0() -> None:
    old = read_transfer_record(FIXTURE / "old.png")["settings"]
    new = upgrade_settings(old)
    assert new["max_tile_pixels"] == 1500 and new["optimizer"] == "lbfgs"
    assert new["lbfgs"] == {"history_size": 5}
    assert new["adam"] == {"lr": 0.05, "betas": [0.9, 0.99], "ema_decay": 0.95}
    assert new["margin"] == 0 and new["style"] == old["style"] | {"color_weight": 0}
    renamed = {
        "margin",
        "style",
        "piece",
        "method",
        "max_tile_pixels",
        "optimizer",
        "lbfgs",
        "adam",
        "wrap",
        "content_map_weight",
        "supersampling",
        "start_noise",
    }
    assert {k: v for k, v in new.items() if k not in renamed} == {
        k: v for k, v in old.items() if k not in renamed
    }
    assert upgrade_settings(new) == new


def test_hash_of_settings_equals_that_of_version_0_1_0() -> None:
    options = ["size=48", "steps=2", "first_steps=2", "coarsest=32", "threads=1"]
    options += ["features.name=bundled", "max_tile_pixels=1500", "lbfgs.history_size=5", "margin=0"]
    options += ["style=relative", "style.color_weight=0", "supersampling=1", "start_noise=0"]
    settings = make_settings(FIXTURE / "content.png", FIXTURE / "style.png", *options)
    old = read_transfer_record(FIXTURE / "old.png")
    assert hash_settings(settings) == old["sha256"]["settings"]


def test_folder_skips_an_image_of_version_0_1_0(old_image: Path, cnnlab: Cnnlab) -> None:
    for path, folder in (("content.png", "photos"), ("old.png", "photos_style")):
        Path(folder).mkdir()
        Path(path).rename(Path(folder) / "content.png")
    options = ["size=48", "steps=2", "first_steps=2", "coarsest=32", "threads=1", "device=cpu"]
    options += ["features=bundled", "max_tile_pixels=1500", "lbfgs.history_size=5", "margin=0"]
    options += ["style=relative", "style.color_weight=0", "supersampling=1", "start_noise=0"]
    code, out, err = cnnlab("stylize", "photos", "style.png", *options)
    assert code == 0, err
    assert "0 stylized, 1 already existed, 0 failed" in out


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
        "--reproduce takes its settings from photo_one.png: "
        "style.strength=1 cannot be given with it" in err
    )
    assert "does not record how it was made" in stylize("--reproduce", "one.png", code=1)[1]
    Path("text.png").write_text("nothing")
    err = stylize("--reproduce", "text.png", code=1)[1]
    assert err == "cnnlab: text.png is not an image that can be read\n"
    assert "no file absent.png" in stylize("--reproduce", "absent.png", code=1)[1]


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


@pytest.mark.parametrize("ending", FORMAT_BY_SUFFIX)
def test_record_is_read_without_decoding_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = save_output_image(
        tmp_path / f"x{ending}", Image.fromarray(COLORS), RECORD, overwrite=False
    )

    def load(self: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert read_transfer_record(str(path)) == RECORD
    monkeypatch.setattr(provenance, "MAX_RECORD_CHARS", 1000)
    with pytest.raises(CnnlabError, match="does not record how it was made"):
        read_transfer_record(str(path))


def test_png_without_a_record_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(CnnlabError, match="it has no record of `stylize`"):
        read_transfer_record(str(tmp_path / "x.png"))


def test_image_without_a_record_is_refused_in_one_line(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[270] = "a walk in the park"
    image = Image.new("RGB", (9, 9))
    image.save(tmp_path / "walk.jpg", exif=exif)
    image.save(tmp_path / "plain.webp")
    image.save(tmp_path / "x.gif")
    image.save(tmp_path / "broken.webp", exif=b"Exif\0\0nothing of the kind")
    bomb = zlib.compress(b"cnnlab" + bytes(10**8))
    chunk = b"zTXtcnnlab\0\0" + bomb
    whole = (tmp_path / "plain.webp").read_bytes()
    (tmp_path / "cut.webp").write_bytes(whole[:20])
    image.save(tmp_path / "x.png")
    png = (tmp_path / "x.png").read_bytes()
    (tmp_path / "bomb.png").write_bytes(
        png[:33]
        + struct.pack(">I", len(chunk) - 4)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + png[33:]
    )
    for name in ("walk.jpg", "plain.webp", "x.gif", "broken.webp", "cut.webp", "bomb.png"):
        with pytest.raises(CnnlabError, match=rf"{name} does not record how it was made") as error:
            read_transfer_record(str(tmp_path / name))
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
    with pytest.raises(CnnlabError, match=r"no file .*absent\.jpg"):
        read_transfer_record(str(tmp_path / "absent.jpg"))
