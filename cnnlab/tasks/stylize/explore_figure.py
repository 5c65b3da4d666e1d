"""The figure of `cnnlab stylize --explore`: the sources at the left, beside them every variant."""

from pathlib import Path

import numpy as np
from PIL import Image

from cnnlab.core.files import write_atomically, write_json, write_unique
from cnnlab.core.image import encode_png, read_image
from cnnlab.tasks.stylize.explore import FIGURE_NAME, Exploration, VariantResult
from cnnlab.tasks.stylize.output import describe_losses
from cnnlab.viz.image_grid import GRID_DPI, GridCell, draw_image_grid

CELL_INCHES = 256 / GRID_DPI  # an image of the default size keeps its pixels


def write_explore_figure(exploration: Exploration) -> Path:
    """Write the figure to the exploration's folder, its numbers beside it; return its path."""
    blob = encode_png(draw_explore_figure(exploration))
    path, write = exploration.folder / FIGURE_NAME, lambda part: part.write_bytes(blob)
    if exploration.settings.overwrite:
        write_atomically(path, write)
    else:
        path = write_unique(path, write)
    numbers = [result.list_numbers() for result in exploration.results]
    write_json(path.with_suffix(".json"), numbers)
    return path


def draw_explore_figure(exploration: Exploration) -> np.ndarray:
    """Return the figure, (H, W, 3) uint8."""
    job, num_rows = exploration.results[0].job, exploration.num_rows
    sources = [
        make_cell(image.photo.rgb, f"{kind}: {image.path.name}")
        for kind, image in [("content", job.content), *(("style", s) for s in job.setup.styles)]
    ]
    variants = [make_variant_cell(result) for result in exploration.results]
    columns = -(-len(variants) // num_rows)
    rows = [
        pad_row(sources[row::num_rows], -(-len(sources) // num_rows))
        + variants[row * columns : (row + 1) * columns]
        for row in range(num_rows)
    ]
    setup = job.setup
    styles = ", ".join(style.path.name for style in setup.styles)
    title = f"{job.content.path.name} in the style of {styles}, network {setup.loaded_encoder.name}"
    content, style = describe_losses(exploration.settings)
    note = f"content {content}, style {style}, time in minutes:seconds"
    return draw_image_grid(rows, title, cell_inches=CELL_INCHES, note=note)


def pad_row(cells: list[GridCell], length: int) -> list[GridCell]:
    """Return a row of cells with empty ones appended."""
    return [*cells, *[GridCell(None)] * (length - len(cells))]


def make_variant_cell(result: VariantResult) -> GridCell:
    """Return the cell of a variant: its image with its values, losses and seconds."""
    caption = f"{result.variant.label}\n{result.format_numbers().replace('  ', ', ')}"
    if result.image is None or result.image.path is None:
        return GridCell(np.zeros((3, 4)), result.variant.label, "heat", blank_reason=caption)
    return make_cell(read_image(result.image.path).convert("RGB"), caption)


def make_cell(image: Image.Image, caption: str) -> GridCell:
    """Return the cell of an image, reduced to the pixels that the figure shows of it."""
    side = round(CELL_INCHES * GRID_DPI)
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return GridCell(np.asarray(image), caption)
