"""Render an image map as one offline HTML file: its script, style, data and images are embedded."""

import base64
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from cnnlab.core.image import encode_png
from cnnlab.core.quoting import printable
from cnnlab.viz.embedding.layout import CLASS_PALETTE, find_class_density_peaks
from cnnlab.viz.embedding.sprites import make_sprite_sheets
from cnnlab.viz.html_template import render_template

WEB_FOLDER = Path(__file__).with_name("web")
# One script in the page: a file may use the definitions of all others once the last one starts it.
SCRIPTS = (
    "data.js",
    "search.js",
    "marks.js",
    "view.js",
    "names.js",
    "draw.js",
    "card.js",
    "events.js",
)
PAGE_THUMBNAIL_PX, SPRITE_SHEET_PX = 96, 2048
MAX_SPRITE_PIXELS = 1 << 26  # of all thumbnails together: four bytes each in a browser
MAX_PNG_BYTES = 6_000_000  # color images that take more are stored as lossy WebP


@dataclass(frozen=True)
class PagePoints:
    """The images of a map page, their positions, and what is known of them.

    `images`: (N, H, W, C) uint8. `maps`: {name: (N, 2) coordinates}. `labels`: (N,), -1 where
    unknown. `neighbors`: (N, k) indices of the nearest images in feature space, nearest first.
    `notes`: {index: text}. Raises ValueError where lengths differ, a class or neighbor does not
    exist, or a coordinate is not finite.
    """

    images: np.ndarray
    maps: Mapping[str, np.ndarray]
    names: Sequence[str]
    labels: np.ndarray
    classes: Sequence[str]
    predictions: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    neighbors: np.ndarray | None = None
    notes: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.images)
        columns = [self.names, self.labels, self.predictions, self.probabilities, self.neighbors]
        if any(
            len(column) != n for column in [*columns, *self.maps.values()] if column is not None
        ):
            raise ValueError(f"{n} images need as many names, labels, predictions and coordinates")
        if not n or not self.maps or not all(np.isfinite(y).all() for y in self.maps.values()):
            raise ValueError("a map needs images and finite coordinates for each")
        check_index_range("label", self.labels, -1, len(self.classes))
        check_index_range("prediction", self.predictions, 0, len(self.classes))
        check_index_range("neighbor", self.neighbors, 0, n)


def check_index_range(name: str, values: np.ndarray | None, low: int, high: int) -> None:
    """Raise ValueError unless all values are in low..high - 1."""
    if values is not None and ((values < low) | (values >= high)).any():
        raise ValueError(f"a {name} is out of range: {low} to {high - 1}")


def render_map_page(title: str, facts: Sequence[str], points: PagePoints) -> str:
    """Return the page; all text in it is escaped, and its policy allows no script but its own."""
    script = "\n".join((WEB_FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = hashlib.sha256(script.encode()).digest()
    return render_template(
        "embedding/web/page.html.j2",
        title=title,
        facts=facts,
        data=build_page_data(points),
        style=Markup((WEB_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode("ascii"),
    )


def build_page_data(points: PagePoints) -> dict[str, Any]:
    """Return the JSON that the script reads; arrays are base64 of little-endian float32, int32."""
    max_side = min(PAGE_THUMBNAIL_PX, math.isqrt(MAX_SPRITE_PIXELS // len(points.images)))
    sheets = make_sprite_sheets(points.images, max_side, SPRITE_SHEET_PX)
    media_type, files = encode_sprite_sheets(sheets)
    return {
        "thumbnail_side": min(max_side, max(points.images.shape[1:3])),
        "media_type": media_type,
        "sheets": [base64.b64encode(file).decode("ascii") for file in files],
        "maps": [build_map_data(name, y, points.labels) for name, y in points.maps.items()],
        "names": [printable(name) for name in points.names],
        "colors": CLASS_PALETTE,
        "classes": [printable(name) for name in points.classes],
        "labels": encode_array(points.labels, "<i4"),
        "predictions": encode_array(points.predictions, "<i4"),
        "probabilities": encode_array(points.probabilities, "<f4"),
        "neighbors": encode_array(points.neighbors, "<i4"),
        "notes": {int(index): printable(note) for index, note in points.notes.items()},
    }


def build_map_data(name: str, coordinates: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return a map's name, its (N, 2) coordinates, and where each class's name goes.

    The largest class is first: its name is drawn where names would overlap.
    """
    sizes = np.bincount(labels[labels >= 0])
    peaks = find_class_density_peaks(coordinates, labels)
    largest_first = sorted(peaks.items(), key=lambda item: -sizes[item[0]])
    return {
        "name": printable(name),
        "coordinates": encode_array(coordinates, "<f4"),
        "label_positions": [(label, *position) for label, position in largest_first],
    }


def encode_array(values: np.ndarray | None, dtype: str) -> str | None:
    """Return an array's bytes as base64; None for None."""
    if values is None:
        return None
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def encode_sprite_sheets(sheets: Sequence[np.ndarray]) -> tuple[str, list[bytes]]:
    """Return the sheets' media type and files: PNG, or WebP where color PNGs are too large."""
    files = [encode_png(sheet) for sheet in sheets]
    if sheets[0].ndim == 2 or sum(map(len, files)) <= MAX_PNG_BYTES:
        return "image/png", files
    return "image/webp", [encode_webp(sheet) for sheet in sheets]


def encode_webp(image: np.ndarray) -> bytes:
    """Return a WebP file of (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=90)
    return buffer.getvalue()
