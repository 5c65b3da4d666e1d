"""The keys that say where: mask, content_map, style_scale of each style image, and wrap."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.style.source_image import read_source_image
from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.tasks.conftest import Stylize, pixels

TWO = ("photo.png", "one.png", "two.png")


def seam_ratio(image: np.ndarray) -> float:
    """Return the mean difference across the seam, relative to that of other neighbors."""
    ratios = list[float]()
    for axis in (0, 1):
        steps = np.abs(image - np.roll(image.astype(float), 1, axis)).mean((1 - axis, 2))
        ratios.append(steps[0] / steps[1:].mean())
    return max(ratios)


@pytest.fixture
def masks(image_folder: Path) -> Path:
    """Masks of the content image's aspect ratio, and images that are none."""
    right = np.zeros((96, 128), np.uint8)
    right[:, 64:] = 255
    images = {
        "right": right,
        "left": 255 - right,
        "soft": np.tile(np.linspace(0, 255, 128), (96, 1)),
        "black": np.zeros((48, 64)),
        "square": np.full((40, 40), 255),
    }
    for name, values in images.items():
        Image.fromarray(values.astype(np.uint8)).save(image_folder / f"{name}.png")
    return image_folder


@pytest.mark.parametrize(
    "words",
    [
        ["style=wasserstein", "color=content"],
        ["style=chapter", "color=matched", "margin=0"],
        ["style=relative", "optimizer=adam", "start=noise"],
    ],
    ids=["wasserstein", "chapter", "adam"],
)
def test_content_is_kept_exactly_where_the_mask_is_black(
    stylize: Stylize, masks: Path, words: list[str]
) -> None:
    out, _ = stylize("mask=right.png", "out=a.png", *words)
    assert "right.png: stylized in 50% of the image" in out
    content = np.asarray(read_source_image("photo.png", 10_000).resize((36, 48)))
    assert np.array_equal(pixels("a.png")[:, :24], content[:, :24])
    assert not np.array_equal(pixels("a.png")[:, 24:], content[:, 24:])


def test_transparency_and_a_gray_image_are_kept_with_a_mask(stylize: Stylize, masks: Path) -> None:
    gray = Image.open("photo.png").convert("L")
    gray.putalpha(Image.open("soft.png").resize(gray.size))
    gray.save("gray.png")
    Image.open("one.png").convert("L").save("gray_style.png")
    stylize("mask=right.png", "out=a.png", images=("gray.png", "gray_style.png"))
    result = pixels("a.png")
    content = read_source_image("gray.png", 10_000)
    assert np.array_equal(result[:, :24, :3], np.asarray(content.resize((36, 48)))[:, :24])
    assert np.array_equal(result[..., 3], np.asarray(content.resize_alpha((36, 48))))
    assert np.array_equal(result[..., 0], result[..., 2])


def test_image_with_a_mask_for_each_style_is_reproduced(stylize: Stylize, masks: Path) -> None:
    out, _ = stylize("mask=left.png,right.png", "style_scale=1,0.5", "out=a.png", images=TWO)
    assert "left.png: one.png in 50% of the image" in out
    assert "right.png: two.png in 50% of the image" in out
    record = read_transfer_record("a.png")
    assert len(record["sha256"]["masks"]) == 2 and "left.png" not in json.dumps(record)
    assert record["settings"]["style_scale"] == [1, 0.5]
    again = ("--reproduce", "a.png", "out=b.png")
    stylize(*again, "mask=[left.png, right.png]", images=TWO)
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    for words, message in (
        (["mask=[right.png,left.png]"], "made with another mask"),
        ([], "was made with mask"),
        (["mask=[left.png,right.png]", "content_map=left.png"], "was made without content_map"),
    ):
        assert message in stylize(*again, *words, images=TWO, code=2)[1]


@pytest.mark.slow
def test_regions_have_their_own_styles(stylize: Stylize, masks: Path) -> None:
    stylize("mask=left.png,right.png", "out=a.png", images=TWO)
    stylize("mask=right.png,left.png", "out=b.png", images=(TWO[0], TWO[2], TWO[1]))
    stylize("mask=right.png,left.png", "out=c.png", images=TWO)
    difference = np.abs(pixels("a.png").astype(int) - pixels("b.png"))
    assert difference.max() <= 2  # in another order of the sums
    assert np.abs(pixels("a.png").astype(int) - pixels("c.png")).max() > 20


def test_one_mask_serves_a_folder(stylize: Stylize, masks: Path, photos: Path) -> None:
    Image.open("photo.png").crop((0, 0, 48, 48)).save(photos / "d.png")
    folder = ("photos", "one.png")
    _, err = stylize("mask=right.png", images=folder, code=1)
    assert "1 of 4 images failed: d.png" in err
    out, _ = stylize("mask=right.png", images=folder, code=1)
    assert "0 stylized, 3 already existed, 1 failed" in out
    assert "right.png has 128x96 pixels, but d.png 48x48: their aspect ratios differ" in out
    out, _ = stylize("mask=left.png", images=folder, code=1)
    assert "a.png already exists, made otherwise" in out


@pytest.mark.slow
def test_mask_fits_tiles_and_memory(stylize: Stylize, masks: Path) -> None:
    keys = ("mask=soft.png", "content_map=right.png", "content_map_weight=9", "steps=1")
    stylize(*keys, "out=a.png")
    out, _ = stylize(*keys, "max_tile_pixels=900", "out=b.png")
    assert "tiles, with the same result" in out
    assert np.abs(pixels("a.png").astype(int) - pixels("b.png")).max() <= 2
    record = read_transfer_record("a.png")
    assert "content_map" in record["sha256"] and record["settings"]["content_map_weight"] == 9
    out, _ = stylize("--score", "a.png", *keys[:3])
    assert "relu5_1" in out


@pytest.mark.parametrize(
    "words",
    [
        [],
        pytest.param(["color=content", "start=noise", "optimizer=adam"], marks=pytest.mark.slow),
    ],
)
def test_wrapped_image_has_no_seam_and_whole_positions(stylize: Stylize, words: list[str]) -> None:
    stylize("wrap=true", "out=a.png", *words)
    assert pixels("a.png").shape == (32, 48, 3)
    assert seam_ratio(pixels("a.png")) < 2 < 5 < seam_ratio(pixels("photo.png"))
    stylize("--reproduce", "a.png", "out=b.png")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mask=square.png"], "square.png has 40x40 pixels, but photo.png 64x48"),
        (["content_map=square.png"], "square.png has 40x40 pixels, but photo.png 64x48"),
        (["mask=black.png"], "black.png is black everywhere"),
        (["mask=one.png"], "one.png has colors"),
        (["mask=[left.png,right.png]"], "mask names 2 files for 1 style image\n"),
        (["mask=right.png", "wrap=true"], "wrap=true cannot be used with mask"),
        (["wrap=true", "margin=4"], "leave out margin=4, or wrap=true"),
        (["content_map_weight=9"], "add content_map=FILE"),
        (["style_scale=[1,2]"], "style_scale has 2 numbers for 1 style image: [1, 2]"),
    ],
)
def test_contradictions_are_refused_before_anything_is_written(
    stylize: Stylize, masks: Path, words: list[str], message: str
) -> None:
    files = set(masks.iterdir())
    _, err = stylize(*words, code=2)
    assert message in err and err.count("\n") == 2
    assert set(masks.iterdir()) == files


def test_missing_mask_and_blended_masks_are_refused(stylize: Stylize, masks: Path) -> None:
    assert "no file nothing.png" in stylize("mask=nothing.png", code=1)[1]
    words = ("mask=[left.png,right.png]", "style_weights=[2,1]")
    assert "leave out style_weights" in stylize(*words, images=TWO, code=2)[1]
