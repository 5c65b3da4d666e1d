"""What all plots share: colors, labels, and rendering to an array."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from cnnlab.core.display_text import cut_middle, isolate_rtl_words, wrap_words
from cnnlab.core.quoting import printable
from cnnlab.viz.fonts import (
    escape_missing_letters,
    measure_em,
    report_missing_letters,
    set_fallback_fonts,
)

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
LETTER_EM = 0.6  # width of a letter on average, relative to the font's size
POINTS_PER_INCH = 72  # of a font's size


def make_drawable(text: str) -> str:
    """Return a text on one line, without letters that no installed font has."""
    return escape_missing_letters(printable(text))


def escape_mathtext(text: str) -> str:
    """Escape dollar signs, which matplotlib takes for mathematics."""
    return text.replace("$", r"\$")


def format_label(name: str, max_letters: int = MAX_LABEL_LENGTH) -> str:
    """Return a class name on one line of at most `max_letters` of average width, for matplotlib."""
    cut = cut_middle(make_drawable(name), max_letters * LETTER_EM, measure_em)
    return escape_mathtext(isolate_rtl_words(cut))


def format_legend_label(name: str, max_letters: int) -> str:
    """Return a name as `format_label` does, for a legend, where matplotlib would hide one that
    begins with an underscore."""
    label = format_label(name, max_letters)
    return f" {label}" if label.startswith("_") else label


def write_figure_title(figure: Figure, title: str, size: float = 12) -> None:
    """Write a figure's title, each of its lines wrapped to the figure's width."""
    width = figure.get_figwidth() - 0.2
    lines = [line for part in title.split("\n") for line in wrap_text(part, width, size)]
    figure.suptitle("\n".join(map(escape_mathtext, lines)), fontsize=size)


def wrap_text(
    text: str, width_inches: float, size: float, max_lines: int | None = None
) -> list[str]:
    """Wrap a text, made drawable, into lines of at most a width at a font size in points; of more
    than `max_lines` the rest is cut, marked by an ellipsis."""
    width_em = width_inches * POINTS_PER_INCH / size
    lines = wrap_words(make_drawable(text), width_em, measure_em, max_lines)
    return [isolate_rtl_words(line) for line in lines]


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
    set_fallback_fonts(text for text in figure.findobj(Text) if isinstance(text, Text))
    report_missing_letters()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
