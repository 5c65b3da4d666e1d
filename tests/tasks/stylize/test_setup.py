"""What settings, style images and network make of an image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.tasks.conftest import Stylize, pixels


def test_seed_determines_the_noise(stylize: Stylize) -> None:
    for seed in (3, 4):
        stylize("start=noise", f"seed={seed}", f"out={seed}.png")
    assert not np.array_equal(pixels("3.png"), pixels("4.png"))


def test_supersampled_image_has_the_output_size_and_is_reproduced(stylize: Stylize) -> None:
    out, _ = stylize("supersampling=1.5", "out=fine.png")
    assert "scale 3/3 72x54" in out and pixels("fine.png").shape == (36, 48, 3)
    record = read_transfer_record("fine.png")
    assert record["steps"] == [4, 3, 3] and record["settings"]["supersampling"] == 1.5
    stylize("--reproduce", "fine.png", "out=again.png")
    assert np.array_equal(pixels("fine.png"), pixels("again.png"))


def test_seamless_image_is_supersampled_without_a_seam(stylize: Stylize) -> None:
    stylize("supersampling=2", "wrap=true", "out=tile.png")
    tile = pixels("tile.png").astype(float)
    seam = np.abs(tile[0] - tile[-1]).mean() / np.abs(np.diff(tile, axis=0)).mean()
    assert tile.shape == (32, 48, 3) and seam < 1.6


def test_flat_image_is_stylized_all_over(stylize: Stylize) -> None:
    """Without noise the optimizer cannot tell apart the positions far from the border."""
    Image.new("RGB", (80, 60), "white").save("white.png")
    spreads = []
    for noise in (0, 0.1):
        words = [f"start_noise={noise}", f"out={noise}.png", "steps=20", "coarsest=48", "margin=0"]
        stylize(*words, images=("white.png", "one.png"))
        spreads.append(pixels(f"{noise}.png")[12:-12, 12:-12].astype(float).std((0, 1)).mean())
    assert spreads[1] > 1.5 * spreads[0]


def test_strength_trades_content_for_style(stylize: Stylize) -> None:
    losses = {}
    for strength in ("0.3", "0.6", "0.9"):
        words = [f"strength={strength}", "steps=25"]
        words += ["features.weights=null", "features.name=bundled"]
        stylize(*words, f"out={strength}.png")
        losses[strength] = read_transfer_record(f"{strength}.png")["losses"]
    assert losses["0.3"]["content"] < losses["0.6"]["content"] < losses["0.9"]["content"]
    assert losses["0.3"]["style"] > losses["0.6"]["style"] > losses["0.9"]["style"]


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=adam"],
        ["start=style"],
        ["features.pool=average"],
        ["precision=bfloat16"],
        ["layers=[relu1_1,relu3_1]", "content_layer=relu3_2"],
        ["style_scale=0.5"],
        ["size=40", "coarsest=100"],
        ["time=0.4"],
        ["supersampling=1.3"],
        ["start_noise=0"],
    ],
    ids=" ".join,
)
def test_every_option_changes_the_image(stylize: Stylize, words: list[str]) -> None:
    stylize(*words)
    stylize("out=plain.png", "precision=float32")
    assert len(np.unique(pixels("photo_one.png"))) > 50
    assert pixels("photo_one.png").shape != (36, 48, 3) or not np.array_equal(
        *map(pixels, ("photo_one.png", "plain.png"))
    )


def test_style_weights(stylize: Stylize) -> None:
    three = ("photo.png", "one.png", "two.png")
    stylize("style_weights=[1,0]", "out=a.png", images=three)
    stylize("out=b.png")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    out, _ = stylize("style_weights=[1,3]", images=three)
    assert "in the style of one.png, two.png" in out and Path("photo_one_two.png").exists()
    assert (
        "style_weights has 1 number for 2 style images"
        in stylize("style_weights=[1]", code=2, images=three)[1]
    )


@pytest.mark.slow
def test_color_options_keep_the_content_colors(stylize: Stylize) -> None:
    stylize("color=content", "steps=60", "out=content.png")
    stylize("color=matched", "steps=60", "out=matched.png")
    stylize("steps=60", "out=style.png")
    photo = np.asarray(Image.open("photo.png").resize((48, 36), Image.Resampling.LANCZOS)).astype(
        float
    )
    means = {
        name: pixels(f"{name}.png").astype(float).mean((0, 1))
        for name in ("content", "matched", "style")
    }
    distances = {
        name: float(np.abs(mean - photo.mean((0, 1))).max()) for name, mean in means.items()
    }
    assert 2 * max(distances["content"], distances["matched"]) < distances["style"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_result_is_reproducible(stylize: Stylize) -> None:
    for device, precision in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16")):
        stylize(
            f"device={device}",
            f"precision={precision}",
            "steps=30",
            f"out={device}_{precision}.png",
        )
    stylize("--reproduce", "cuda_bfloat16.png", "device=cuda", "out=again.png")
    assert np.array_equal(pixels("again.png"), pixels("cuda_bfloat16.png"))
    losses = [
        read_transfer_record(f"{name}.png")["losses"]["loss"]
        for name in ("cpu_float32", "cuda_float32", "cuda_bfloat16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.2) and losses[2] == pytest.approx(
        losses[0], rel=0.3
    )


def make_gray(*names: str) -> None:
    for name in names:
        Image.open(name).convert("L").save(f"gray_{name}")


def measure_chroma(name: str) -> int:
    """The largest difference of red, green and blue in a pixel."""
    colors = pixels(name).astype(int)
    return int((colors.max(2) - colors.min(2)).max())


@pytest.mark.parametrize("start", ["noise", "content", "style"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_gray_photograph_and_painting_give_a_gray_image(
    stylize: Stylize, start: str, optimizer: str
) -> None:
    make_gray("photo.png", "one.png")
    images = ("gray_photo.png", "gray_one.png")
    stylize(f"start={start}", f"optimizer={optimizer}", "out=a.png", images=images)
    assert pixels("a.png").std() > 5 and measure_chroma("a.png") == 0
    stylize("--reproduce", "a.png", "out=b.png", images=images)
    assert np.array_equal(pixels("a.png"), pixels("b.png"))


def test_gray_photograph_in_matched_colors_stays_gray(stylize: Stylize) -> None:
    make_gray("photo.png")
    stylize("color=matched", "start=noise", "out=a.png", images=("gray_photo.png", "one.png"))
    assert measure_chroma("a.png") == 0


def test_one_colored_image_gives_colors(stylize: Stylize) -> None:
    make_gray("photo.png", "one.png")
    for images in (("gray_photo.png", "one.png"), ("photo.png", "gray_one.png")):
        stylize("out=a.png", "--overwrite", images=images)
        assert measure_chroma("a.png") > 20
