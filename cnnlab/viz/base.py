"""What all plots share: colors, labels, and rendering to an array."""

from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cnnlab.core.quoting import printable

BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#777777"  # of the palette of Okabe & Ito
# All eight of it, darkest first, each with a line style of its own for color-blind readers.
LINE_STYLES = (
    (BLUE, "-"),
    (ORANGE, "--"),
    ("#009E73", "-."),
    ("#000000", ":"),
    ("#CC79A7", (0, (5, 1, 1, 1, 1, 1))),
    ("#56B4E9", (0, (8, 3))),
    ("#E69F00", (0, (3, 1))),
    (GRAY, "-"),
)
MAX_LABEL_LENGTH = 12  # letters of a class name that fit an axis


def escape_mathtext(text: str) -> str:
    """Escape dollar signs, which matplotlib takes for mathematics."""
    return text.replace("$", r"\$")


def format_label(name: str, max_letters: int = MAX_LABEL_LENGTH) -> str:
    """Return a class name on one line of at most `max_letters`, for matplotlib."""
    name = printable(name)
    return escape_mathtext(name if len(name) <= max_letters else name[: max_letters - 1] + "…")


def wrap_text(text: str, letters: int, max_lines: int | None = None) -> list[str]:
    """Wrap a text, made printable, into lines of at most `letters`; of more than `max_lines` the
    rest is cut at a word, marked by an ellipsis."""
    return wrap(printable(text), letters, max_lines=max_lines, placeholder="…")


def show_image(axes: Axes, image: np.ndarray, **options: Any) -> None:
    """Draw a uint8 image, (H, W, 3) or gray (H, W, 1) or (H, W), on axes; `options` are those of
    `Axes.imshow`."""
    pixels = image[..., 0] if image.shape[2:] == (1,) else image
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, **options)


def draw_grid_lines(axes: Axes) -> None:
    """Draw light grid lines behind the data."""
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def render_figure(figure: Figure) -> np.ndarray:
    """Render a figure as (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
