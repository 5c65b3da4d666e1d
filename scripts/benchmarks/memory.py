"""Measure the peak memory of `cnnlab stylize` against its memory_limit (Linux).

A process for each row. The content image is tubingen.jpg enlarged to the size, the style image
starry_night.jpg; two scales with `--steps` steps each: enough to fill the L-BFGS history.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.harness import Table, print_machine, run_child

HEADERS = ("size=", "memory_limit", "output", "tiles", "L-BFGS history", "peak GB", "s")
HISTORY_SIZE = 20  # of configs/stylize.yaml, where no limit makes it smaller


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of the JPEGs")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 2000, 4000])
    parser.add_argument("--limits", nargs="*", default=["1GB", "2GB", "4GB"])
    parser.add_argument("--features", default="bundled", metavar="NAME|FILE")
    parser.add_argument("--steps", type=int, default=22)


def make_command(
    content: Path, style: Path, size: int, limit: str, features: str, steps: int
) -> list[str]:
    """Return the command line of a transfer."""
    is_file = "." in features
    return [
        *(sys.executable, "-m", "cnnlab", "stylize", str(content), str(style)),
        *(f"size={size}", f"coarsest={size // 2}", f"steps={steps}", f"first_steps={steps}"),
        *(f"memory_limit={limit}", f"features={'auto' if is_file else features}"),
        f"features.weights='{features}'" if is_file else "features.weights=null",
        *(f"out={content.with_name('out.png')}", "--overwrite", "--json"),
        f"outputs={content.parent}",
    ]


def measure_in_child(images: str, size: int, limit: str, features: str, steps: int) -> None:
    """Run a transfer; print the row as JSON. A child's peak counts its parent's size, so this
    process stays small."""
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder) / "content.png"
        photo = Image.open(Path(images) / "tubingen.jpg")
        enlarged = (size, size * photo.height // photo.width)
        photo.resize(enlarged, Image.Resampling.LANCZOS).save(content)
        style = Path(images) / "starry_night.jpg"
        command = make_command(content, style, size, limit, features, steps)
        process = subprocess.run(command, capture_output=True, text=True)
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    row: dict[str, Any] = {"size": size, "memory_limit": limit, "peak_gb": peak_gb}
    if process.returncode:
        print(json.dumps(row | {"error": process.stderr.strip().splitlines()[-1]}))
        return
    output = re.search(r"(\d+x\d+) pixels, device", process.stderr)
    tiles = re.search(r"in (\d+) tiles", process.stderr)
    history = re.search(r"history of (\d+)", process.stderr)
    row |= {"output": output and output[1], "tiles": int(tiles[1]) if tiles else 1}
    row |= {"history_size": int(history[1]) if history else HISTORY_SIZE}
    print(json.dumps(row | {"seconds": json.loads(process.stdout)["seconds"]}))


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    print_machine(f"features={Path(options.features).name}", f"{options.steps} steps per scale")
    arguments = {"images": str(options.images), "features": options.features}
    table, rows = Table(*HEADERS), []
    for size in options.sizes:
        for limit in options.limits:
            out = run_child("memory", size=size, limit=limit, steps=options.steps, **arguments)
            row = json.loads(out)
            rows.append(row)
            if "error" in row:
                table.add(size, limit, row["error"], "", "", "", "")
                continue
            cells = [row[key] for key in ("output", "tiles", "history_size")]
            table.add(size, limit, *cells, f"{row['peak_gb']:.2f}", f"{row['seconds']:.0f}")
    return rows
