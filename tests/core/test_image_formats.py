import json
from pathlib import Path

import pytest
from PIL import Image

from cnnlab.core.errors import UsageError
from cnnlab.core.image_formats import (
    FORMAT_BY_SUFFIX,
    JPEG,
    ImageFormat,
    find_image_format,
    read_record_text,
)


def test_suffix_selects_the_format() -> None:
    for name, format_ in (
        ("a.png", "PNG"),
        ("a.b.JPG", "JPEG"),
        ("x/a.jpeg", "JPEG"),
        ("a.Tif", "TIFF"),
        ("a.tiff", "TIFF"),
        ("a.jpg.webp", "WEBP"),
    ):
        assert find_image_format(Path(name)).name == format_
    for name in ("a", "a.gif", ".png", "a.png.part", "a.jp\x1bg"):
        with pytest.raises(
            UsageError, match=r"out must end in \.png, \.jpg, .* or \.webp, not "
        ) as error:
            find_image_format(Path(name))
        assert str(error.value).isprintable()


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
def test_max_side_is_what_the_format_can_write(tmp_path: Path, ending: str) -> None:
    form = FORMAT_BY_SUFFIX[ending]
    form.check_fits(ending, (1, form.max_side), 1)
    Image.new("RGB", (form.max_side, 1)).save(tmp_path / "x", format=form.name)
    message = f"{ending} file can have {form.max_side:,} pixels per side, not {form.max_side + 1:,}"
    with pytest.raises(UsageError, match=message):
        form.check_fits(ending, (form.max_side + 1, 1), 1)
    with pytest.raises((ValueError, OSError)):
        Image.new("RGB", (form.max_side + 1, 1)).save(tmp_path / "y", format=form.name)


def test_jpeg_metadata_holds_max_styles(tmp_path: Path) -> None:
    record = {
        "settings": "s" * 5000,
        "sha256": ["f" * 64] * JPEG.max_styles,
        "style_weights": [0.12345678901234567] * JPEG.max_styles,
    }
    text = json.dumps(record)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg", **JPEG.encode_metadata(text))
    assert read_record_text(Image.open(tmp_path / "x.jpg")) == text
    JPEG.check_fits(".jpg", (8, 8), JPEG.max_styles)
    with pytest.raises(UsageError, match=r"a \.jpg file can record 500 style images, not 501"):
        JPEG.check_fits(".jpg", (8, 8), JPEG.max_styles + 1)


@pytest.mark.parametrize(
    "form",
    {form.name: form for form in FORMAT_BY_SUFFIX.values()}.values(),
    ids=lambda form: form.name,
)
def test_metadata_round_trip(tmp_path: Path, form: ImageFormat) -> None:
    text = json.dumps({"a": "é\n€", "b": "x" * 5000})
    Image.new("RGB", (8, 8)).save(tmp_path / "x", format=form.name, **form.encode_metadata(text))
    assert read_record_text(Image.open(tmp_path / "x")) == text
