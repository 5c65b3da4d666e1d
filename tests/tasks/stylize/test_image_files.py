"""Images of all kinds through the whole command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.tasks.conftest import Stylize, pixels


def save_with_alpha(name: str) -> np.ndarray:
    """Save the content image, its left transparent, its middle half so; return its alpha."""
    image, alpha = Image.open("photo.png").convert("RGB"), np.full((48, 64), 255, np.uint8)
    alpha[:, :20], alpha[:, 20:40] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    image.save(name)
    return alpha


@pytest.mark.parametrize("ending", FORMAT_BY_SUFFIX)
def test_every_format_is_written_and_reproduced(stylize: Stylize, ending: str) -> None:
    stylize("seed=3", "start=noise", f"out=a{ending}")
    with Image.open(f"a{ending}") as opened:
        assert (
            opened.format == FORMAT_BY_SUFFIX[ending].name
            and opened.size == (48, 36)
            and "icc_profile" in opened.info
        )
    out, _ = stylize("--reproduce", f"a{ending}")
    assert (
        f"\na_2{ending}\n" in out
        and Path(f"a_2{ending}").read_bytes() == Path(f"a{ending}").read_bytes()
    )
    stylize("seed=3", "start=noise", "out=b.png")
    assert np.abs(pixels(f"a{ending}").astype(int) - pixels("b.png")).mean() < (
        4 if FORMAT_BY_SUFFIX[ending].has_alpha else 8
    )


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_transparency_is_kept(stylize: Stylize, ending: str) -> None:
    alpha = save_with_alpha("cut.png")
    out, _ = stylize(f"out=a{ending}", images=("cut.png", "one.png"))
    saved = pixels(f"a{ending}")
    small = Image.fromarray(alpha).resize((48, 36), Image.Resampling.LANCZOS)
    assert np.array_equal(saved[..., 3], small) and "composited" not in out
    scores = json.loads(
        stylize("--score", f"a{ending}", "--json", images=("cut.png", "one.png"))[0]
    )
    record = read_transfer_record(f"a{ending}")["losses"]
    assert scores["content"]["wasserstein"] == pytest.approx(record["content"], rel=1e-5)
    assert scores["style"]["wasserstein"] == pytest.approx(record["style"], rel=1e-5)


def test_transparency_is_composited_for_jpeg(stylize: Stylize) -> None:
    save_with_alpha("cut.png")
    out, _ = stylize("out=a.JPG", images=("cut.png", "cut.png"))
    assert "\ncut.png: transparency composited on white\n" in out
    assert "\ncut.png: composited on white, .JPG has no transparency\n" in out
    assert pixels("a.JPG").shape == (36, 48, 3) and pixels("a.JPG")[:, :10].min() > 240
    assert all(len(line) <= 80 for line in out.splitlines() if "tensorboard" not in line)


@pytest.mark.parametrize("color", ["content", "matched"])
def test_color_options_keep_transparency(stylize: Stylize, color: str) -> None:
    save_with_alpha("cut.png")
    stylize(f"color={color}", images=("cut.png", "one.png"))
    saved = pixels("cut_one.png")
    assert saved.shape == (36, 48, 4) and saved[saved[..., 3] == 0][:, :3].min() >= 254


def test_first_frame_of_an_animation_is_used(stylize: Stylize) -> None:
    frames = [Image.open("photo.png").convert("RGB").rotate(angle) for angle in (0, 90, 180)]
    frames[0].save("clip.gif", save_all=True, append_images=frames[1:])
    out, _ = stylize("out=a.png", images=("clip.gif", "one.png"))
    assert "\nclip.gif: the first of several frames\n" in out
    assert (
        "\nclip.gif: the first of several frames\n"
        in stylize("--score", "a.png", images=("clip.gif", "one.png"))[0]
    )
    out, err = stylize("--json", "out=b.png", images=("clip.gif", "one.png"))
    assert json.loads(out) and "clip.gif: the first of several frames" in err


def test_exif_orientation_is_applied(stylize: Stylize) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.open("photo.png").convert("RGB").save("phone.jpg", exif=exif)
    out, _ = stylize("out=a.png", images=("phone.jpg", "one.png"))
    assert "36x48 pixels" in out and pixels("a.png").shape == (48, 36, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "F", "LAB"])
def test_every_image_mode_is_read(stylize: Stylize, mode: str) -> None:
    gray = Image.open("photo.png").convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) * np.uint16(257))
    elif mode == "F":
        image = Image.fromarray(np.asarray(gray, np.float32) / 255)
    else:
        image = Image.open("photo.png").convert("RGB").convert(mode)
    image.save("any.tiff")
    stylize("out=a.png", images=("any.tiff", "any.tiff"))
    assert pixels("a.png").shape == (36, 48, 3)
