"""Pictures of all kinds through the whole command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.tasks.conftest import Paint, pixels


def cut_out(name: str) -> np.ndarray:
    """The photograph with a transparent left and a half transparent middle, as `name`; its alpha."""
    image, alpha = Image.open("photo.png").convert("RGB"), np.full((48, 64), 255, np.uint8)
    alpha[:, :20], alpha[:, 20:40] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    image.save(name)
    return alpha


@pytest.mark.parametrize("ending", FORMAT_BY_SUFFIX)
def test_any_ending_and_the_same_again_beside_it(paint: Paint, ending: str) -> None:
    paint("seed=3", "start=noise", f"out=a{ending}")
    with Image.open(f"a{ending}") as opened:
        assert (
            opened.format == FORMAT_BY_SUFFIX[ending].name
            and opened.size == (48, 36)
            and "icc_profile" in opened.info
        )
    out, _ = paint("--reproduce", f"a{ending}")
    assert (
        f"\na_2{ending}\n" in out
        and Path(f"a_2{ending}").read_bytes() == Path(f"a{ending}").read_bytes()
    )
    paint("seed=3", "start=noise", "out=b.png")
    assert np.abs(pixels(f"a{ending}").astype(int) - pixels("b.png")).mean() < (
        4 if FORMAT_BY_SUFFIX[ending].has_alpha else 8
    )


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_the_photographs_transparency_is_kept(paint: Paint, ending: str) -> None:
    alpha = cut_out("cut.png")
    out, _ = paint(f"out=a{ending}", pictures=("cut.png", "one.png"))
    found = pixels(f"a{ending}")
    small = Image.fromarray(alpha).resize((48, 36), Image.Resampling.LANCZOS)
    assert np.array_equal(found[..., 3], small) and "laid on white" not in out
    scores = json.loads(
        paint("--score", f"a{ending}", "--json", pictures=("cut.png", "one.png"))[0]
    )
    said = read_transfer_record(f"a{ending}")["losses"]
    assert scores["content"]["share"] == pytest.approx(said["content"], rel=1e-5)
    assert scores["style"]["share"] == pytest.approx(said["style"], rel=1e-5)


def test_transparency_that_cannot_be_kept_is_laid_on_white_and_told(paint: Paint) -> None:
    cut_out("cut.png")
    out, _ = paint("out=a.JPG", pictures=("cut.png", "cut.png"))
    assert "\ncut.png: its transparency is laid on white\n" in out
    assert "\ncut.png: laid on white, for a .JPG has no transparency\n" in out
    assert pixels("a.JPG").shape == (36, 48, 3) and pixels("a.JPG")[:, :10].min() > 240
    assert all(len(line) <= 80 for line in out.splitlines() if "tensorboard" not in line)


@pytest.mark.parametrize("color", ["content", "matched"])
def test_colours_go_with_transparency(paint: Paint, color: str) -> None:
    cut_out("cut.png")
    paint(f"color={color}", pictures=("cut.png", "one.png"))
    found = pixels("cut_one.png")
    assert found.shape == (36, 48, 4) and found[found[..., 3] == 0][:, :3].min() >= 254


def test_a_clip_says_that_its_first_frame_is_painted(paint: Paint) -> None:
    frames = [Image.open("photo.png").convert("RGB").rotate(angle) for angle in (0, 90, 180)]
    frames[0].save("clip.gif", save_all=True, append_images=frames[1:])
    out, _ = paint("out=a.png", pictures=("clip.gif", "one.png"))
    assert "\nclip.gif: the first of 3 frames\n" in out
    assert (
        "\nclip.gif: the first of 3 frames\n"
        in paint("--score", "a.png", pictures=("clip.gif", "one.png"))[0]
    )
    found, err = paint("--json", pictures=("clip.gif", "one.png"))
    assert json.loads(found) and "clip.gif: the first of 3 frames" in err


def test_a_photograph_on_its_side_is_painted_upright(paint: Paint) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.open("photo.png").convert("RGB").save("phone.jpg", exif=exif)
    out, _ = paint("out=a.png", pictures=("phone.jpg", "one.png"))
    assert "36x48 pixels" in out and pixels("a.png").shape == (48, 36, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "F", "LAB"])
def test_a_photograph_of_any_mode_is_painted(paint: Paint, mode: str) -> None:
    grey = Image.open("photo.png").convert("L")
    if mode in ("I;16", "F"):
        image = Image.fromarray(
            np.asarray(grey).astype(np.uint16 if mode == "I;16" else np.float32)
        )
    else:
        image = Image.open("photo.png").convert("RGB").convert(mode)
    image.save("any.tiff")
    paint("out=a.png", pictures=("any.tiff", "any.tiff"))
    assert pixels("a.png").shape == (36, 48, 3)
