"""What the figures of a map share: colours, a page of pixels, and where on it a map's points lie."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cnnlab.viz.base import wrap_text

# Paul Tol's "muted" nine, in an order that sets similar ones apart, and a grey.
CLASS_PALETTE = (
    "#332288",
    "#DDCC77",
    "#117733",
    "#CC6677",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#777777",
)
UNKNOWN_CLASS_COLOR = "#C8C8C8"  # of a picture whose class is not known, label -1
PIXEL_FIGURE_DPI = 100
PIXEL_FIGURE_MARGIN = 24  # pixels around and between
DENSITY_BINS = 64  # squares along a map, for the density
DENSITY_SIGMA = 1.5  # of them


def get_class_color(k: int) -> str:
    """A class's, by its index."""
    return UNKNOWN_CLASS_COLOR if k < 0 else CLASS_PALETTE[k % len(CLASS_PALETTE)]


def get_class_text_color(k: int) -> np.ndarray:
    """A class's colour, dark enough to be read on white."""
    red, green, blue = to_rgb(get_class_color(k))
    bright = 0.3 * red + 0.59 * green + 0.11 * blue
    return np.array([red, green, blue]) * min(1, 0.33 / bright)


def make_pixel_figure(width: int, height: int) -> tuple[Figure, Axes]:
    """An empty figure whose coordinates are its pixels, (0, 0) at the top left."""
    figure = Figure(
        figsize=(width / PIXEL_FIGURE_DPI, height / PIXEL_FIGURE_DPI), dpi=PIXEL_FIGURE_DPI
    )
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    return figure, axes


def wrap_to_width(text: str, width: int, size: float) -> list[str]:
    """A text in lines that fit so many pixels, at that size of letters."""
    return wrap_text(text, int(width / (0.56 * size * PIXEL_FIGURE_DPI / 72)))


def map_to_pixels(y: np.ndarray, width: float, height: float, margin: float) -> np.ndarray:
    """(N, 2) a map, y upwards -> (N, 2) pixels in the middle of so many, y downwards, both axes to one scale."""
    low, high = y.min(0), y.max(0)
    room = np.array([width, height])
    span = np.maximum(high - low, 1e-12 * (1 + np.abs(y).max()))
    return room / 2 + (y - (low + high) / 2) * [1, -1] * ((room - 2 * margin) / span).min()


def height_width_ratio(y: np.ndarray) -> float:
    """A map's height in its widths."""
    width, height = np.ptp(y, axis=0)
    return float(height / width) if width else 1.0


def find_class_density_peaks(y: np.ndarray, labels: np.ndarray) -> dict[int, tuple[float, float]]:
    """(N, 2) a map and (N,) labels, -1 unknown -> where most of each class lies: of several islands the densest."""
    places = map_to_pixels(y, DENSITY_BINS, DENSITY_BINS, 0)
    mesh = places.astype(int).clip(0, DENSITY_BINS - 1)
    steps = np.arange(DENSITY_BINS) - np.arange(DENSITY_BINS)[:, None]
    blur = np.exp(-((steps / DENSITY_SIGMA) ** 2) / 2)
    found = {}
    for k in np.unique(labels[labels >= 0]).tolist():
        own = np.flatnonzero(labels == k)
        counts = np.zeros((DENSITY_BINS, DENSITY_BINS))
        np.add.at(counts, tuple(mesh[own].T), 1)
        peak = np.array(np.unravel_index((blur @ counts @ blur).argmax(), counts.shape)) + 0.5
        near = np.exp(-((places[own] - peak) ** 2).sum(1) / 2 / DENSITY_SIGMA**2)
        x, up = (y[own] * near[:, None]).sum(0) / near.sum()
        found[k] = (float(x), float(up))
    return found
