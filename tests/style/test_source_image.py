import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.core.photo import make_srgb_profile
from cnnlab.style.source_image import (
    collect_image_notes,
    image_to_tensor,
    read_source_image,
    tensor_to_image,
)
from cnnlab.tasks.stylize import provenance
from cnnlab.tasks.stylize.output import resolve_output_path, save_output_image
from cnnlab.tasks.stylize.provenance import read_transfer_record

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (20, 30, 4), dtype=np.uint8)
SAID: dict[str, Any] = {
    "settings": {"name": "é"},
    "steps": [4, 3],
    "sha256": {"content": "f" * 64, "text": "x" * 3000},
}


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """Red on the left; on the right a green that nobody sees."""
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    image.paste((0, 255, 0, 0), (33, 0, 64, 64))
    image.save(tmp_path / "half.png")
    return tmp_path / "half.png"


def test_resize_does_not_bleed_transparent_colors(half: Path) -> None:
    one = read_source_image(str(half), 10**6)
    for size in ((20, 20), (7, 50), (90, 90)):
        rgb, alpha = np.asarray(one.resize(size)).astype(int), np.asarray(one.resize_alpha(size))
        assert np.abs(rgb[alpha > 0] - (255, 0, 0)).max() == 0 and (rgb[alpha == 0] == 255).all()
        assert (
            rgb.shape == (*size, 3) and 0 < (alpha == 0).mean() < 0.5 and len(np.unique(alpha)) > 2
        )
    assert one.resize(one.size) is one.photo.rgb and one.resize_alpha(one.size) is one.photo.alpha


def test_resize_keeps_colors_under_uniform_alpha(tmp_path: Path) -> None:
    """Premultiplied and back: half as seen everywhere is the same as seen whole, but for rounding."""
    pixels = np.kron(COLORS[:, :, :3], np.ones((3, 3, 1), np.uint8))
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 128, np.uint8)])).save(
        tmp_path / "half.png"
    )
    whole, half = (
        read_source_image(str(tmp_path / f"{name}.png"), 10**6).resize((20, 30))
        for name in ("whole", "half")
    )
    assert np.abs(np.asarray(whole).astype(int) - np.asarray(half)).max() <= 3


def test_flatten_alpha_composites_on_white_with_a_note(half: Path, tmp_path: Path) -> None:
    one = read_source_image(str(half), 10**6).flatten_alpha()
    assert one.resize_alpha((9, 9)) is None and one.photo.rgb.getpixel((40, 9)) == (255, 255, 255)
    assert one.photo.notes == (
        "half.png: transparency composited on white",
    ) and collect_image_notes(one, one) == [*one.photo.notes]
    Image.new("RGB", (8, 8)).save(tmp_path / "whole.png")
    whole = read_source_image(str(tmp_path / "whole.png"), 10**6)
    assert whole.flatten_alpha() is whole and collect_image_notes(whole) == []


def test_image_to_tensor_and_back() -> None:
    image = Image.fromarray(np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3))
    x = image_to_tensor(image)
    assert torch.equal(x, torch.tensor(np.array(image)).permute(2, 0, 1)[None].float() / 255)
    assert np.array_equal(tensor_to_image(x), image)
    outside = torch.tensor([-1.0, 0.5, 2.0]).view(1, 3, 1, 1)
    assert tensor_to_image(outside).getpixel((0, 0)) == (
        0,
        128,
        255,
    ) and outside.flatten().tolist() == [-1, 0.5, 2]


@pytest.mark.parametrize("ending", FORMAT_BY_SUFFIX)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_saved_image_and_record_are_read_back(tmp_path: Path, ending: str, mode: str) -> None:
    form = FORMAT_BY_SUFFIX[ending]
    COLORS[:5, :, 3] = 0
    image = Image.fromarray(COLORS[:, :, : len(mode)])
    path = save_output_image(tmp_path / f"x{ending.upper()}", image, SAID, overwrite=False)
    with Image.open(path) as opened:
        assert opened.format == form.name and opened.info["icc_profile"] == make_srgb_profile()
        assert opened.mode == (mode if form.has_alpha else "RGB")
        found = np.asarray(opened).astype(int)
    assert read_transfer_record(str(path)) == SAID
    one = read_source_image(str(path), 10**6)
    if form.has_alpha:
        shown = COLORS[..., 3] > 0 if mode == "RGBA" else np.full((20, 30), True)
        assert (
            np.array_equal(found[shown], np.asarray(image)[shown])
            and collect_image_notes(one) == []
        )
        assert mode == "RGB" or np.array_equal(np.asarray(one.photo.alpha), COLORS[..., 3])
    else:
        weight = COLORS[..., 3:].astype(float) / 255 if mode == "RGBA" else 1.0
        wanted = weight * COLORS[..., :3] + (1 - weight) * 255
        assert np.abs(found - wanted).mean() < 4 and one.photo.alpha is None


@pytest.mark.parametrize("ending", FORMAT_BY_SUFFIX)
def test_saved_files_are_identical(tmp_path: Path, ending: str) -> None:
    image = Image.fromarray(COLORS)
    first = save_output_image(tmp_path / f"a.b{ending}", image, SAID, overwrite=False)
    make_srgb_profile.cache_clear()
    second = save_output_image(tmp_path / f"a.b{ending}", image, SAID, overwrite=False)
    assert second.name == f"a.b_2{ending}" and second.read_bytes() == first.read_bytes()
    save_output_image(second, image, SAID | {"steps": []}, overwrite=True)
    assert read_transfer_record(str(second))["steps"] == [] and len(list(tmp_path.iterdir())) == 2


def test_jpeg_has_no_chroma_subsampling(tmp_path: Path) -> None:
    """Lines of red and blue, one pixel each: with halved colors they would be purple."""
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255
    path = save_output_image(tmp_path / "x.jpg", Image.fromarray(stripes), SAID, overwrite=False)
    assert np.abs(np.asarray(Image.open(path)).astype(int) - stripes).max() < 20


@pytest.mark.parametrize("ending", FORMAT_BY_SUFFIX)
def test_record_is_read_without_decoding_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = save_output_image(
        tmp_path / f"x{ending}", Image.fromarray(COLORS), SAID, overwrite=False
    )

    def load(self: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert read_transfer_record(str(path)) == SAID
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
    with pytest.raises(CnnlabError, match=r"no image .*absent\.jpg"):
        read_transfer_record(str(tmp_path / "absent.jpg"))


def test_output_path_defaults_to_a_png_beside_the_content(tmp_path: Path) -> None:
    photo, painted = tmp_path / "my.photo.jpg", tmp_path / "one.webp"
    for path in (photo, painted):
        path.touch()

    def place(
        out: Path | None = None, usual: Path | None = None, size: tuple[int, int] = (9, 9)
    ) -> Path:
        return resolve_output_path(out, photo, [painted], usual, size, overwrite=False)

    assert place() == tmp_path / "my.photo_one.png"
    assert place(usual=tmp_path / "before.JPEG") == tmp_path / "before.JPEG"
    assert place(tmp_path / "a.tar.tiff") == tmp_path / "a.tar.tiff"
    with pytest.raises(UsageError, match="one of the input images"):
        place(photo)
    with pytest.raises(UsageError, match=r"a \.webp can have 16,383 pixels a side, not 20,000"):
        place(Path("x.webp"), size=(20_000, 10))
    assert sorted(tmp_path.iterdir()) == [photo, painted]
