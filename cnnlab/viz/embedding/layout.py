"""Colors, pixel figures and coordinates that the figures of a map share."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cnnlab.viz.base import wrap_text

# Paul Tol's nine "muted" colors, ordered so that similar ones are apart, and a gray.
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
UNKNOWN_CLASS_COLOR = "#C8C8C8"  # label -1
PIXEL_FIGURE_DPI = 100
PIXEL_FIGURE_MARGIN = 24  # pixels around and between
DENSITY_BINS = 64  # along each axis
DENSITY_SIGMA = 1.5  # bins


def get_class_color(k: int) -> str:
    """Return the color of a class index; gray for -1."""
    return UNKNOWN_CLASS_COLOR if k < 0 else CLASS_PALETTE[k % len(CLASS_PALETTE)]


def get_class_text_color(k: int) -> np.ndarray:
    """Return the RGB color of a class, dark enough for text on white."""
    red, green, blue = to_rgb(get_class_color(k))
    bright = 0.3 * red + 0.59 * green + 0.11 * blue
    return np.array([red, green, blue]) * min(1, 0.33 / bright)


def make_pixel_figure(width: int, height: int) -> tuple[Figure, Axes]:
    """Return an empty figure whose coordinates are pixels, (0, 0) at the top left."""
    figure = Figure(
        figsize=(width / PIXEL_FIGURE_DPI, height / PIXEL_FIGURE_DPI), dpi=PIXEL_FIGURE_DPI
    )
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    return figure, axes


def wrap_to_width(text: str, width: int, size: float) -> list[str]:
    """Wrap a text to lines of at most `width` pixels at a font size in points."""
    return wrap_text(text, width / PIXEL_FIGURE_DPI, size)


def map_to_pixels(y: np.ndarray, width: float, height: float, margin: float) -> np.ndarray:
    """Return (N, 2) pixels, y downward, of an (N, 2) map, y upward, centered and to scale."""
    low, high = y.min(0), y.max(0)
    size = np.array([width, height])
    span = np.maximum(high - low, 1e-12 * (1 + np.abs(y).max()))
    return size / 2 + (y - (low + high) / 2) * [1, -1] * ((size - 2 * margin) / span).min()


def height_width_ratio(y: np.ndarray) -> float:
    """Return the aspect ratio of an (N, 2) map; 1 for zero width."""
    width, height = np.ptp(y, axis=0)
    return float(height / width) if width else 1.0


def find_class_density_peaks(y: np.ndarray, labels: np.ndarray) -> dict[int, tuple[float, float]]:
    """Return {class: (x, y)}, the density maximum of each class on an (N, 2) map.

    `labels`: (N,), -1 where unknown. Of several clusters of a class the densest counts.
    """
    points = map_to_pixels(y, DENSITY_BINS, DENSITY_BINS, 0)
    bins = points.astype(int).clip(0, DENSITY_BINS - 1)
    steps = np.arange(DENSITY_BINS) - np.arange(DENSITY_BINS)[:, None]
    blur = np.exp(-((steps / DENSITY_SIGMA) ** 2) / 2)
    peaks = {}
    for k in np.unique(labels[labels >= 0]).tolist():
        members = np.flatnonzero(labels == k)
        counts = np.zeros((DENSITY_BINS, DENSITY_BINS))
        np.add.at(counts, tuple(bins[members].T), 1)
        peak = np.array(np.unravel_index((blur @ counts @ blur).argmax(), counts.shape)) + 0.5
        weight = np.exp(-((points[members] - peak) ** 2).sum(1) / 2 / DENSITY_SIGMA**2)
        mean_x, mean_y = (y[members] * weight[:, None]).sum(0) / weight.sum()
        peaks[k] = (float(mean_x), float(mean_y))
    return peaks
