"""`cnnlab describe growth`: how many parameters a layer has, by the picture's size, as figure 5-3 has it."""

import json
from pathlib import Path
from typing import Any

from cnnlab.core.files import make_run_folder, write_json
from cnnlab.core.image import save_png
from cnnlab.tasks.describe.settings import GrowthSettings
from cnnlab.viz.curves import plot_parameter_growth

CHAPTER_EXAMPLES = ((28, 1), (200, 3))  # pixels across and depth, of its two examples


def write_growth(g: GrowthSettings, outputs: Path, stem: Path | None, *, as_json: bool) -> None:
    """Print the numbers, and draw them with a JSON file beside: at `stem`, or below `outputs`."""
    place = stem or make_run_folder(outputs / "describe", "growth") / "growth"
    times = g.fully_connected_parameters[-1] / g.convolutional_parameters[-1]
    title = f"At {g.sizes[-1]} pixels a fully connected layer has {times:,.0f} times the parameters"
    save_png(
        place.with_name(f"{place.name}.png"),
        plot_parameter_growth(
            g.sizes, g.fully_connected_parameters, g.convolutional_parameters, title
        ),
    )
    found: dict[str, Any] = {"sizes": g.sizes, "fully_connected": g.fully_connected_parameters, "convolutional": g.convolutional_parameters, "depth": g.depth,
             "kernel_size": g.kernel_size, "units": g.units}  # fmt: skip
    write_json(place.with_name(f"{place.name}.json"), found)
    found["figure"] = f"{place}.png"
    print(
        json.dumps(found, indent=1) if as_json else "\n".join(format_growth_table(g, place)),
        flush=True,
    )


def format_growth_table(g: GrowthSettings, place: Path) -> list[str]:
    head = f"parameters of a layer on square pictures of depth {g.depth}: {g.units} fully connected neurons,"
    lines = [head, f"or {g.units} filters of {g.kernel_size}x{g.kernel_size}x{g.depth}", ""]
    lines.append(
        f"{'pixels':>7}{'weights of a neuron':>21}{'fully connected':>18}{'convolutional':>16}"
    )
    for n, full, shared in zip(
        g.sizes, g.fully_connected_parameters, g.convolutional_parameters, strict=True
    ):
        lines.append(f"{n:>7}{n * n * g.depth:>21,}{full:>18,}{shared:>16,}")
    both = ", ".join(f"{n * n * d:,} at {n}x{n}x{d}" for n, d in CHAPTER_EXAMPLES)
    return [
        *lines,
        "",
        f"the chapter's neurons have {both}",
        "",
        f"figure: {place}.png",
        f"numbers: {place}.json",
    ]
