from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.style.source_image import (
    collect_image_notes,
    image_to_tensor,
    read_source_image,
    tensor_to_image,
)

COLORS = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)


@pytest.fixture
def half_transparent(tmp_path: Path) -> Path:
    """Return an image file: red on the left, a fully transparent green on the right."""
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    image.paste((0, 255, 0, 0), (33, 0, 64, 64))
    image.save(tmp_path / "half_transparent.png")
    return tmp_path / "half_transparent.png"


def test_resize_does_not_bleed_transparent_colors(half_transparent: Path) -> None:
    source = read_source_image(str(half_transparent), 10**6)
    for size in ((20, 20), (7, 50), (90, 90)):
        rgb, alpha = (
            np.asarray(source.resize(size)).astype(int),
            np.asarray(source.resize_alpha(size)),
        )
        assert np.abs(rgb[alpha > 0] - (255, 0, 0)).max() == 0 and (rgb[alpha == 0] == 255).all()
        assert (
            rgb.shape == (*size, 3) and 0 < (alpha == 0).mean() < 0.5 and len(np.unique(alpha)) > 2
        )
    assert (
        source.resize(source.size) is source.photo.rgb
        and source.resize_alpha(source.size) is source.photo.alpha
    )


def test_resize_keeps_colors_under_uniform_alpha(tmp_path: Path) -> None:
    """Uniform alpha changes colors by rounding only."""
    pixels = np.kron(COLORS[:, :, :3], np.ones((3, 3, 1), np.uint8))
    Image.fromarray(pixels).save(tmp_path / "opaque.png")
    Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 128, np.uint8)])).save(
        tmp_path / "half_transparent.png"
    )
    opaque, translucent = (
        read_source_image(str(tmp_path / f"{name}.png"), 10**6).resize((20, 30))
        for name in ("opaque", "half_transparent")
    )
    assert np.abs(np.asarray(opaque).astype(int) - np.asarray(translucent)).max() <= 3


def test_flatten_alpha_composites_on_white_with_a_note(
    half_transparent: Path, tmp_path: Path
) -> None:
    source = read_source_image(str(half_transparent), 10**6).flatten_alpha()
    assert source.resize_alpha((9, 9)) is None and source.photo.rgb.getpixel((40, 9)) == (
        255,
        255,
        255,
    )
    assert source.photo.notes == (
        "half_transparent.png: transparency composited on white",
    ) and collect_image_notes(source, source) == [*source.photo.notes]
    Image.new("RGB", (8, 8)).save(tmp_path / "opaque.png")
    opaque = read_source_image(str(tmp_path / "opaque.png"), 10**6)
    assert opaque.flatten_alpha() is opaque and collect_image_notes(opaque) == []


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
