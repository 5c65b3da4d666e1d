"""`cnnlab describe growth`: parameters of a layer by image size, as in figure 5-3."""

import json
from pathlib import Path
from typing import Any

from cnnlab.core.files import make_run_folder, write_json
from cnnlab.core.image import save_png
from cnnlab.tasks.describe.settings import GrowthSettings
from cnnlab.viz.curves import plot_parameter_growth

CHAPTER_EXAMPLES = ((28, 1), (200, 3))  # (pixels across, depth)


def write_growth(
    settings: GrowthSettings, outputs: Path, stem: Path | None, *, as_json: bool
) -> None:
    """Print the numbers; save the figure and a JSON file at `stem`, or below `outputs`."""
    stem = stem or make_run_folder(outputs / "describe", "growth") / "growth"
    full, shared = settings.fully_connected_parameters, settings.convolutional_parameters
    ratio = f"{full[-1] / shared[-1]:,.0f} times the parameters"
    title = f"At {settings.sizes[-1]} pixels a fully connected layer has {ratio}"
    figure = plot_parameter_growth(settings.sizes, full, shared, title)
    save_png(stem.with_name(f"{stem.name}.png"), figure)
    numbers: dict[str, Any] = {
        "sizes": settings.sizes,
        "fully_connected": full,
        "convolutional": shared,
        "depth": settings.depth,
        "kernel_size": settings.kernel_size,
        "units": settings.units,
    }
    write_json(stem.with_name(f"{stem.name}.json"), numbers)
    numbers["figure"] = f"{stem}.png"
    table = format_growth_table(settings, stem)
    print(json.dumps(numbers, indent=1) if as_json else "\n".join(table), flush=True)


def format_growth_table(settings: GrowthSettings, stem: Path) -> list[str]:
    depth, units, kernel = settings.depth, settings.units, settings.kernel_size
    head = f"{'pixels':>7}{'weights of a unit':>21}{'fully connected':>18}{'convolutional':>16}"
    counts = zip(
        settings.sizes,
        settings.fully_connected_parameters,
        settings.convolutional_parameters,
        strict=True,
    )
    examples = ", ".join(f"{n * n * d:,} at {n}x{n}x{d}" for n, d in CHAPTER_EXAMPLES)
    return [
        f"parameters of a layer on square images of depth {depth}: {units} fully connected units,",
        f"or {units} filters of {kernel}x{kernel}x{depth}",
        "",
        head,
        *(f"{n:>7}{n * n * depth:>21,}{full:>18,}{shared:>16,}" for n, full, shared in counts),
        "",
        f"weights of a unit in the chapter: {examples}",
        "",
        f"figure: {stem}.png",
        f"numbers: {stem}.json",
    ]
