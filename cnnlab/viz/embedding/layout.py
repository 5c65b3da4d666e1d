"""What the figures of a map share: colours, a page of pixels, and where on it a map's points lie."""

from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cnnlab.core.quoting import plain

# Paul Tol's "muted" nine, in an order that sets similar ones apart, and a grey.
PALETTE = ("#332288", "#DDCC77", "#117733", "#CC6677", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499", "#777777")
UNKNOWN = "#C8C8C8"  # of a picture whose class is not known, label -1
DPI = 100
MARGIN = 24  # pixels around and between
MESH = 64  # squares along a map, for the density
BLUR = 1.5  # of them


def colour(k: int) -> str:
    """A class's, by its index."""
    return UNKNOWN if k < 0 else PALETTE[k % len(PALETTE)]


def shade(k: int) -> np.ndarray:
    """A class's colour, dark enough to be read on white."""
    red, green, blue = to_rgb(colour(k))
    bright = 0.3 * red + 0.59 * green + 0.11 * blue
    return np.array([red, green, blue]) * min(1, 0.33 / bright)


def page(width: int, height: int) -> tuple[Figure, Axes]:
    """An empty figure whose coordinates are its pixels, (0, 0) at the top left."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    return figure, axes


def lines(text: str, width: int, size: float) -> list[str]:
    """A text in lines that fit so many pixels, at that size of letters."""
    return wrap(plain(text), int(width / (0.56 * size * DPI / 72)))


def placed(y: np.ndarray, width: float, height: float, margin: float) -> np.ndarray:
    """(N, 2) a map, y upwards -> (N, 2) pixels in the middle of so many, y downwards, both axes to one scale."""
    low, high = y.min(0), y.max(0)
    room = np.array([width, height])
    span = np.maximum(high - low, 1e-12 * (1 + np.abs(y).max()))
    return room / 2 + (y - (low + high) / 2) * [1, -1] * ((room - 2 * margin) / span).min()


def tallness(y: np.ndarray) -> float:
    """A map's height in its widths."""
    width, height = np.ptp(y, axis=0)
    return float(height / width) if width else 1.0


def densest(y: np.ndarray, labels: np.ndarray) -> dict[int, tuple[float, float]]:
    """(N, 2) a map and (N,) labels, -1 unknown -> where most of each class lies: of several islands the densest."""
    places = placed(y, MESH, MESH, 0)
    mesh = places.astype(int).clip(0, MESH - 1)
    steps = np.arange(MESH) - np.arange(MESH)[:, None]
    blur = np.exp(-((steps / BLUR) ** 2) / 2)
    found = {}
    for k in np.unique(labels[labels >= 0]).tolist():
        own = np.flatnonzero(labels == k)
        counts = np.zeros((MESH, MESH))
        np.add.at(counts, tuple(mesh[own].T), 1)
        peak = np.array(np.unravel_index((blur @ counts @ blur).argmax(), counts.shape)) + 0.5
        near = np.exp(-((places[own] - peak) ** 2).sum(1) / 2 / BLUR**2)
        x, up = (y[own] * near[:, None]).sum(0) / near.sum()
        found[k] = (float(x), float(up))
    return found
