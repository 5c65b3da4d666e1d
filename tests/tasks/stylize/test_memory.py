"""Peak resident memory of stylize in a subprocess, and images limited by memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.tasks.conftest import Stylize


def save_large_image(path: Path, width: int, height: int) -> Path:
    small = np.random.default_rng(0).integers(
        0, 256, (height // 40, width // 40, 3), dtype=np.uint8
    )
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def measure_peak_memory(*words: str) -> tuple[str, int]:
    """Run `stylize` in a subprocess; return its output and its peak resident bytes."""
    code = (
        "import resource, subprocess, sys;"
        "process = subprocess.run(sys.argv[1:], capture_output=True, text=True);"
        "print(process.stdout, process.stderr);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    command = [sys.executable, "-m", "cnnlab", "stylize", "large.png", "one.png", *words]
    process = subprocess.run(
        [sys.executable, "-c", code, *command, "features=bundled"],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    *lines, peak = process.stdout.strip().splitlines()
    return "\n".join(lines), int(peak)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize(
    ("width", "limit_mb", "steps"),
    [(512, 900, 2), (512, 900, 22), (1720, 1500, 2)],
)
def test_memory_limit_is_kept(width: int, limit_mb: int, steps: int, image_folder: Path) -> None:
    """History and tiles fill it; 2.2 megapixels untiled would take five times as much."""
    save_large_image(image_folder / "large.png", width, width * 3 // 4)
    out, peak = measure_peak_memory(
        f"size={width}",
        f"steps={steps}",
        f"first_steps={steps}",
        "coarsest=360",
        f"memory_limit={limit_mb}MB",
    )
    assert f"{width}x{width * 3 // 4} pixels" in out, out
    assert 0.3e9 < peak < limit_mb * 1e6
    assert width < 1000 or "tiles, with the same result" in out


@pytest.mark.slow
def test_image_too_large_for_memory_is_shrunk(stylize: Stylize, image_folder: Path) -> None:
    from torch import device

    from cnnlab.core.memory import get_used_memory

    save_large_image(image_folder / "large.png", 2800, 2100)
    limit = get_used_memory(device("cpu")) + 200_000_000
    images = ("large.png", "one.png")
    words = ["size=null", f"memory_limit={limit}", "steps=1", "first_steps=1", "coarsest=9999"]
    out, _ = stylize("device=cpu", *words, images=images)
    assert f"memory_limit={limit} holds " in out and " pixels, not 2800x2100\n" in out
    assert "an L-BFGS history of 5, not 20" in out
    width, height = Image.open("large_one.png").size
    assert 100 < width < 1400 and width / height == pytest.approx(4 / 3, 0.02)
    record = read_transfer_record("large_one.png")["settings"]
    assert record["size"] == width and record["lbfgs"]["history_size"] == 5
    stylize("--reproduce", "large_one.png", images=images)  # without a memory limit
    assert np.array_equal(
        *(np.asarray(Image.open(name)) for name in ("large_one_2.png", "large_one.png"))
    )
    less = get_used_memory(device("cpu")) + 80_000_000
    words = ["--reproduce", "large_one.png", f"memory_limit={less}"]
    _, err = stylize(*words, code=2, images=images)
    assert (
        err
        == "cnnlab: large_one.png was made with more memory than is free, or memory_limit= allows\n"
    )


def test_slightly_larger_style_image_is_not_tiled(stylize: Stylize, image_folder: Path) -> None:
    save_large_image(image_folder / "style.png", 1000, 797)
    save_large_image(image_folder / "photo.jpg", 512, 384)
    images, words = ("photo.jpg", "style.png"), ["size=512", "coarsest=512", "first_steps=1"]
    stylize(*words, "out=first.png", images=images)
    assert read_transfer_record("first.png")["settings"]["max_tile_pixels"] is None
    stylize("--reproduce", "first.png", "out=second.png", images=images)
    assert Path("first.png").read_bytes() == Path("second.png").read_bytes()


@pytest.mark.slow
def test_score_needs_less_memory(stylize: Stylize, image_folder: Path) -> None:
    from torch import device

    from cnnlab.core.memory import get_used_memory

    save_large_image(image_folder / "large.png", 1600, 1200)
    limit = f"memory_limit={get_used_memory(device('cpu')) + 200_000_000}"
    out, _ = stylize("--score", "large.png", limit, images=("large.png", "one.png"))
    assert "large.png, 1600x1200" in out


def test_tiled_image_equals_untiled(stylize: Stylize, image_folder: Path) -> None:
    save_large_image(image_folder / "large.png", 400, 300)
    words = ["size=400", "coarsest=400", "first_steps=5"]
    stylize(*words, "out=whole.png", images=("large.png", "one.png"))
    out, _ = stylize(
        *words, "max_tile_pixels=60000", "out=cut.png", images=("large.png", "one.png")
    )
    assert "evaluated in " in out and " tiles, with the same result\n" in out
    whole, cut = (read_transfer_record(name)["losses"] for name in ("whole.png", "cut.png"))
    assert cut["loss"] == pytest.approx(
        whole["loss"], rel=1e-2
    )  # five steps on, rounding has been multiplied
    assert read_transfer_record("cut.png")["settings"]["max_tile_pixels"] == 60_000
    stylize("--reproduce", "cut.png", "out=again.png", images=("large.png", "one.png"))
    assert Path("again.png").read_bytes() == Path("cut.png").read_bytes()


def test_too_little_memory_is_refused_in_one_line(stylize: Stylize) -> None:
    _, err = stylize("memory_limit=1MB", code=2)
    assert (
        err.startswith("cnnlab: a memory limit of 1 MB is too little to stylize: ")
        and len(err.splitlines()) == 1
    )
    assert (
        "memory_limit must be like 4GB or 800MB, not 'lots'"
        in stylize("memory_limit=lots", code=2)[1]
    )
