"""Memory as the system counts it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.tasks.stylize.provenance import read_transfer_record

Paint = Any


def large(path: Path, width: int, height: int) -> Path:
    small = np.random.default_rng(0).integers(
        0, 256, (height // 40, width // 40, 3), dtype=np.uint8
    )
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def peak_of(*words: str) -> tuple[str, int]:
    """What a `stylize` of its own process says, and the most bytes that it has resident."""
    code = (
        "import resource, subprocess, sys;"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True); print(done.stdout, done.stderr);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        sys.executable,
        "-m",
        "cnnlab",
        "stylize",
        "large.png",
        "one.png",
    ]
    done = subprocess.run(
        [*command, *words, "features=bundled"], capture_output=True, text=True, env=os.environ
    )
    *said, peak = done.stdout.strip().splitlines()
    return "\n".join(said), int(peak)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize(
    ("width", "limit_mb", "steps"),
    [(512, 900, 2), pytest.param(512, 900, 22, marks=pytest.mark.slow),
     pytest.param(1720, 1500, 2, marks=pytest.mark.slow)],
)  # fmt: skip
def test_the_limit_is_kept(width: int, limit_mb: int, steps: int, studio: Path) -> None:
    """Past steps and pixels fill it; and 2.2 megapixels would take five times as much in one go."""
    large(studio / "large.png", width, width * 3 // 4)
    said, peak = peak_of(
        f"size={width}",
        f"steps={steps}",
        f"first_steps={steps}",
        "coarsest=360",
        f"memory_limit={limit_mb}MB",
    )
    assert f"{width}x{width * 3 // 4} pixels" in said, said
    assert 0.3e9 < peak < limit_mb * 1e6
    assert width < 1000 or "pieces, which add up to the whole" in said


def test_what_does_not_fit_is_painted_smaller_and_said(paint: Paint, studio: Path) -> None:
    from torch import device

    from cnnlab.core.memory import get_used_memory

    large(studio / "large.png", 2800, 2100)
    limit = get_used_memory(device("cpu")) + 200_000_000
    out, _ = paint("size=null", f"memory_limit={limit}", "steps=1", "first_steps=1", "coarsest=9999",
                   pictures=("large.png", "one.png"))  # fmt: skip
    assert f"memory_limit={limit} holds " in out and " pixels, not 2800x2100\n" in out
    assert "past steps of L-BFGS, not 20" in out
    width, height = Image.open("large_one.png").size
    assert 100 < width < 1400 and width / height == pytest.approx(4 / 3, 0.02)
    said = read_transfer_record("large_one.png")["settings"]
    assert said["size"] == width and said["lbfgs"]["history_size"] == 5
    paint(
        "--reproduce", "large_one.png", pictures=("large.png", "one.png")
    )  # with memory enough, as then
    assert np.array_equal(
        *(np.asarray(Image.open(name)) for name in ("large_one_2.png", "large_one.png"))
    )
    less = get_used_memory(device("cpu")) + 80_000_000
    _, err = paint("--reproduce", "large_one.png", f"memory_limit={less}", code=2,
                   pictures=("large.png", "one.png"))  # fmt: skip
    assert (
        err
        == "cnnlab: large_one.png was made with more memory than there is now, or memory_limit= leaves\n"
    )


def test_a_painting_that_is_rounded_larger_than_the_picture_is_seen_alike_again(
    paint: Paint, studio: Path
) -> None:
    large(studio / "painting.png", 1000, 797)
    large(studio / "photo.jpg", 512, 384)
    pictures, words = ("photo.jpg", "painting.png"), ["size=512", "coarsest=512", "first_steps=1"]
    paint(*words, "out=first.png", pictures=pictures)
    assert read_transfer_record("first.png")["settings"]["max_tile_pixels"] is None
    paint("--reproduce", "first.png", "out=second.png", pictures=pictures)
    assert Path("first.png").read_bytes() == Path("second.png").read_bytes()


def test_a_score_needs_no_more_than_a_look(paint: Paint, studio: Path) -> None:
    from torch import device

    from cnnlab.core.memory import get_used_memory

    large(studio / "large.png", 1600, 1200)
    limit = f"memory_limit={get_used_memory(device('cpu')) + 200_000_000}"
    out, _ = paint("--score", "large.png", limit, pictures=("large.png", "one.png"))
    assert "large.png, 1600x1200" in out


def test_pieces_paint_what_the_whole_does(paint: Paint, studio: Path) -> None:
    large(studio / "large.png", 400, 300)
    words = ["size=400", "coarsest=400", "first_steps=10"]
    paint(*words, "out=whole.png", pictures=("large.png", "one.png"))
    out, _ = paint(*words, "max_tile_pixels=60000", "out=cut.png", pictures=("large.png", "one.png"))
    assert "looked at in " in out and " pieces, which add up to the whole\n" in out
    whole, cut = (read_transfer_record(name)["losses"] for name in ("whole.png", "cut.png"))
    assert cut["loss"] == pytest.approx(
        whole["loss"], rel=1e-2
    )  # ten steps on, rounding has been multiplied
    assert read_transfer_record("cut.png")["settings"]["max_tile_pixels"] == 60_000
    paint("--reproduce", "cut.png", "out=again.png", pictures=("large.png", "one.png"))
    assert Path("again.png").read_bytes() == Path("cut.png").read_bytes()


def test_too_little_for_anything_is_one_line(paint: Paint) -> None:
    _, err = paint("memory_limit=1MB", code=2)
    assert (
        err.startswith("cnnlab: memory_limit=1MB is too little to paint with: ")
        and len(err.splitlines()) == 1
    )
    assert (
        "memory_limit must be like 4GB or 800MB, not 'lots'"
        in paint("memory_limit=lots", code=2)[1]
    )
