from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.core.clip_formats import (
    BAYER,
    CLIP_WRITERS,
    ClipContent,
    apply_palette,
    choose_palette,
    find_clip_writer,
    round_to_total,
)
from cnnlab.core.errors import UsageError
from cnnlab.core.image_formats import read_record_text
from tests.core.test_clip_file import make_frames, write


def test_a_gif_has_the_same_colors_in_all_frames(tmp_path: Path) -> None:
    clip = write(tmp_path / "a.gif", make_frames())
    assert Image.open(clip.path).info["comment"] == b'{"steps": [1]}'
    colors = {color for f in clip.iterate() for _, color in f.image.getcolors() or []}
    assert 200 < len(colors) <= 255


def test_durations_do_not_drift_when_they_are_rounded() -> None:
    assert round_to_total([3.3] * 10) == [3, 4, 3, 3, 3, 4, 3, 3, 4, 3]
    assert round_to_total([]) == []


def test_other_suffixes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"must end in \.gif, .* or \.webm, not a\.avi"):
        find_clip_writer(Path("a.avi"))


def test_dithering_depends_on_the_place_alone() -> None:
    gray = np.full((8, 8, 3), 100, np.uint8)
    palette = choose_palette([gray, gray + 6])
    first, again = (apply_palette(gray + 3, palette) for _ in range(2))
    assert first.tobytes() == again.tobytes() and len(set(first.tobytes())) > 1


def test_a_gray_between_two_colors_becomes_both() -> None:
    """The thresholds average to 0, and a lighter gray has more pixels of the lighter color."""
    assert BAYER.mean() == 0 and len(np.unique(BAYER)) == 16
    palette = Image.new("P", (1, 1))
    palette.putpalette([96] * 3 + [104] * 3)
    grays = [np.full((16, 16, 3), level, np.uint8) for level in range(96, 105)]
    dithered = [np.asarray(apply_palette(gray, palette).convert("RGB")) for gray in grays]
    means = [image.mean() for image in dithered]
    assert set(np.unique(dithered)) == {96, 104} and means == sorted(means)
    assert means[0] == 96 < means[6]


@pytest.mark.parametrize("suffix", [".webp", ".apng"])
def test_the_record_and_the_profile_are_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    content = ClipContent(make_frames(2), [40, 40], 1, {"seed": 3})
    CLIP_WRITERS[suffix](path, content)
    with Image.open(path) as image:
        assert read_record_text(image) == content.text == '{"seed": 3}'
        assert image.info["icc_profile"]


def test_a_record_that_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = ClipContent([], [], 0, {"loss": float("nan")}).text
