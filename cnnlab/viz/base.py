"""What all plots share: colors, labels, and rendering to an array."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cnnlab.core.quoting import plain

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"  # of Okabe & Ito's palette


# Okabe & Ito's others, darkest first, each with a stroke of its own for those who see no colours.
STROKES = ((BLUE, "-"), (ORANGE, "--"), ("#009E73", "-."), ("#000000", ":"), ("#CC79A7", (0, (5, 1, 1, 1, 1, 1))),
           ("#56B4E9", (0, (8, 3))), ("#E69F00", (0, (3, 1))), (GREY, "-"))  # fmt: skip


SHORT = 12  # letters of a class name that fit an axis


def label(name: str, most: int = SHORT) -> str:
    """A class's name as it is, not as mathematics, on one line of so many letters."""
    name = plain(name)
    return (name if len(name) <= most else name[: most - 1] + "…").replace("$", r"\$")


def rendered(figure: Figure) -> np.ndarray:
    """A figure as (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
