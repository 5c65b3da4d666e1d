"""Figure 5-3: parameters against the size of the picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cnnlab.viz.plots import BLUE, ORANGE, rendered


def growth_figure(sizes: Sequence[int], full: Sequence[int], shared: Sequence[int], title: str) -> np.ndarray:
    """Parameters of a fully connected and of a convolutional layer for square pictures of so many pixels across ->
    (H, W, 3) uint8."""
    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sizes, full, "o-", color=ORANGE, label="fully connected")
    axes.plot(sizes, shared, "s--", color=BLUE, label="convolutional")
    axes.set(xlabel="width and height of the picture, pixels", ylabel="parameters of the layer", yscale="log")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="center right")
    axes.set_title(title, fontsize=11)
    return rendered(figure)
