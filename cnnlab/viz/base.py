"""What all plots share: colors, labels, and rendering to an array."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cnnlab.core.quoting import printable

BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#777777"  # of Okabe & Ito's palette


# Okabe & Ito's others, darkest first, each with a stroke of its own for those who see no colours.
LINE_STYLES = ((BLUE, "-"), (ORANGE, "--"), ("#009E73", "-."), ("#000000", ":"), ("#CC79A7", (0, (5, 1, 1, 1, 1, 1))),
           ("#56B4E9", (0, (8, 3))), ("#E69F00", (0, (3, 1))), (GRAY, "-"))  # fmt: skip


MAX_LABEL_LENGTH = 12  # letters of a class name that fit an axis


def format_label(name: str, most: int = MAX_LABEL_LENGTH) -> str:
    """A class's name as it is, not as mathematics, on one line of so many letters."""
    name = printable(name)
    return (name if len(name) <= most else name[: most - 1] + "…").replace("$", r"\$")


def render_figure(figure: Figure) -> np.ndarray:
    """A figure as (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
