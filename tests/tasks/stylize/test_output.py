"""The output file, its path and the notes printed with it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.errors import UsageError
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.core.photo import make_srgb_profile
from cnnlab.style.source_image import collect_image_notes, read_source_image
from cnnlab.tasks.stylize.output import describe_losses, resolve_output_path, save_output_image
from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.tasks.conftest import Stylize, make_job, pixels

COLORS = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
RECORD: dict[str, Any] = {
    "settings": {"name": "é"},
    "steps": [4, 3],
    "sha256": {"content": "f" * 64, "text": "x" * 3000},
}


@pytest.mark.parametrize("ending", FORMAT_BY_SUFFIX)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_saved_image_and_record_are_read_back(tmp_path: Path, ending: str, mode: str) -> None:
    form = FORMAT_BY_SUFFIX[ending]
    COLORS[:5, :, 3] = 0
    image = Image.fromarray(COLORS[:, :, : len(mode)])
    path = save_output_image(tmp_path / f"x{ending.upper()}", image, RECORD, overwrite=False)
    with Image.open(path) as opened:
        assert opened.format == form.name and opened.info["icc_profile"] == make_srgb_profile()
        assert opened.mode == (mode if form.has_alpha else "RGB")
        saved = np.asarray(opened).astype(int)
    assert read_transfer_record(str(path)) == RECORD
    source = read_source_image(str(path), 10**6)
    if form.has_alpha:
        visible = COLORS[..., 3] > 0 if mode == "RGBA" else np.full((20, 30), True)
        assert (
            np.array_equal(saved[visible], np.asarray(image)[visible])
            and collect_image_notes(source) == []
        )
        assert mode == "RGB" or np.array_equal(np.asarray(source.photo.alpha), COLORS[..., 3])
    else:
        weight = COLORS[..., 3:].astype(float) / 255 if mode == "RGBA" else 1.0
        wanted = weight * COLORS[..., :3] + (1 - weight) * 255
        assert np.abs(saved - wanted).mean() < 4 and source.photo.alpha is None


@pytest.mark.parametrize("ending", FORMAT_BY_SUFFIX)
def test_saved_files_are_identical(tmp_path: Path, ending: str) -> None:
    image = Image.fromarray(COLORS)
    first = save_output_image(tmp_path / f"a.b{ending}", image, RECORD, overwrite=False)
    make_srgb_profile.cache_clear()
    second = save_output_image(tmp_path / f"a.b{ending}", image, RECORD, overwrite=False)
    assert second.name == f"a.b_2{ending}" and second.read_bytes() == first.read_bytes()
    save_output_image(second, image, RECORD | {"steps": []}, overwrite=True)
    assert read_transfer_record(str(second))["steps"] == [] and len(list(tmp_path.iterdir())) == 2


def test_jpeg_has_no_chroma_subsampling(tmp_path: Path) -> None:
    """Lines of red and blue, one pixel each: subsampled chroma would make them purple."""
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255
    path = save_output_image(tmp_path / "x.jpg", Image.fromarray(stripes), RECORD, overwrite=False)
    assert np.abs(np.asarray(Image.open(path)).astype(int) - stripes).max() < 20


def test_output_path_defaults_to_a_png_beside_the_content(
    image_folder: Path,
) -> None:
    content, style = Path("my.photo.jpg"), Path("one.webp")
    for path in (content, style):
        Image.new("RGB", (40, 40)).save(path)
    names = sorted(path.name for path in image_folder.iterdir())
    job = make_job(content, style)
    assert resolve_output_path(job, None) == Path("my.photo_one.png")
    assert resolve_output_path(job, None, Path("before.JPEG")) == Path("before.JPEG")
    assert resolve_output_path(job, Path("a.tar.tiff")) == Path("a.tar.tiff")
    with pytest.raises(UsageError, match="one of the input images"):
        resolve_output_path(job, content)
    large = replace(job, size=(20_000, 10))
    with pytest.raises(
        UsageError, match=r"a \.webp file can have 16,383 pixels per side, not 20,000"
    ):
        resolve_output_path(large, Path("x.webp"))
    assert sorted(path.name for path in image_folder.iterdir()) == names


def test_existing_file_is_kept_without_overwrite(stylize: Stylize) -> None:
    stylize()
    first = Path("photo_one.png").read_bytes()
    assert (
        "\nphoto_one_2.png\n" in stylize("strength=0.2")[0]
        and "\nphoto_one_3.png\n" in stylize()[0]
    )
    assert Path("photo_one.png").read_bytes() == first != Path("photo_one_2.png").read_bytes()
    stylize("out=mine.png", "strength=0.3")
    assert (
        "\nmine_2.png\n" in stylize("--reproduce", "mine.png")[0]
    )  # named after the original image
    assert Path("mine_2.png").read_bytes() == Path("mine.png").read_bytes()
    _, err = stylize("out=photo_one.png", code=2)
    assert "photo_one.png already exists: --overwrite replaces it" in err
    stylize("out=photo_one.png", "strength=0.2", "--overwrite")
    assert np.array_equal(pixels("photo_one.png"), pixels("photo_one_2.png"))


def test_small_style_image_is_reported(stylize: Stylize) -> None:
    assert (
        "one.png: fewer pixels than style_scale=2 requests, not enlarged\n"
        in stylize("style_scale=2")[0]
    )
    Image.new("RGB", (20, 20)).save("tiny.png")
    out, _ = stylize(images=("photo.png", "tiny.png"))
    assert "tiny.png: fewer pixels than the output image, not enlarged\n" in out


def test_a_content_map_changes_what_content_means() -> None:
    """Its weights made content 6.3 beside `1: nothing of it`."""
    style = {"name": "wasserstein"}
    plain = describe_losses(SimpleNamespace(style=style, content_map=None))  # type: ignore[arg-type]
    mapped = describe_losses(SimpleNamespace(style=style, content_map="a.png"))  # type: ignore[arg-type]
    assert "1: nothing of it" in plain[0] and "content_map" in mapped[0] and plain[1] == mapped[1]
