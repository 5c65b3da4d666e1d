"""A map of pictures as one HTML file that needs nothing beside it: its script, its data and its pictures are within."""

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnnlab.core.image import encode_png
from cnnlab.core.quoting import printable
from cnnlab.viz.embedding.layout import CLASS_PALETTE, find_class_density_peaks
from cnnlab.viz.embedding.sprites import make_sprite_sheets
from cnnlab.viz.report_page import escape_html

PAGE_TEMPLATE = Path(__file__).with_name("page.html")
PAGE_THUMBNAIL_PX, SPRITE_SHEET_PX = 96, 2048
MAX_SPRITE_PIXELS = 1 << 26  # of all tiles together: four bytes each in a browser
MAX_PNG_BYTES = 6_000_000  # colour pictures that take more are stored with some loss


@dataclass(frozen=True)
class PagePoints:
    """N pictures, (N, H, W, C) uint8, where each lies on one or more maps of (N, 2), and what is known of them: the
    true class or -1, the predicted one and its probability, the (N, k) nearest others in feature space, nearest first,
    and what else there is to say of some."""

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
        """Raises ValueError where lengths differ, a class or neighbour does not exist, or a place is not a number."""
        n = len(self.images)
        columns = [
            self.names,
            self.labels,
            self.predictions,
            self.probabilities,
            self.neighbors,
            *self.maps.values(),
        ]
        if any(len(column) != n for column in columns if column is not None):
            raise ValueError(f"there are {n} pictures, but not as many of everything else")
        if (
            not n
            or not self.maps
            or not all(np.isfinite(places).all() for places in self.maps.values())
        ):
            raise ValueError("a map needs pictures, and a place for each")
        ids = [
            (self.labels, -1, len(self.classes)),
            (self.predictions, 0, len(self.classes)),
            (self.neighbors, 0, n),
        ]
        if any(
            values is not None and ((values < least) | (values >= most)).any()
            for values, least, most in ids
        ):
            raise ValueError("a class or a neighbour is meant that is not there")


def render_map_page(title: str, facts: Sequence[str], points: PagePoints) -> str:
    """The whole page; no text in it can become more than text, and it may run its own script only."""
    template = PAGE_TEMPLATE.read_text(encoding="utf-8")
    _, script = template.split("<script>")
    parts = {
        "title": escape_html(title),
        "facts": "".join(f"<li>{escape_html(fact)}</li>" for fact in facts),
        "hash": base64.b64encode(
            hashlib.sha256(script.split("</script>")[0].encode()).digest()
        ).decode("ascii"),
        "data": json.dumps(build_page_data(points), separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"%(title|facts|hash|data)%", lambda found: parts[found[1]], template)


def build_page_data(points: PagePoints) -> dict[str, Any]:
    """What the page's script reads: numbers as base64 of little-endian float32 and int32."""
    tile = min(PAGE_THUMBNAIL_PX, math.isqrt(MAX_SPRITE_PIXELS // len(points.images)))
    kind, files = encode_sprite_sheets(make_sprite_sheets(points.images, tile, SPRITE_SHEET_PX))
    return {
        "cell": min(tile, max(points.images.shape[1:3])),
        "kind": kind,
        "sheets": [base64.b64encode(file).decode("ascii") for file in files],
        "maps": [
            build_map_data(name, places, points.labels) for name, places in points.maps.items()
        ],
        "names": [printable(name) for name in points.names],
        "colours": CLASS_PALETTE,
        "classes": [printable(name) for name in points.classes],
        "labels": encode_array(points.labels, "<i4"),
        "predictions": encode_array(points.predictions, "<i4"),
        "probabilities": encode_array(points.probabilities, "<f4"),
        "neighbours": encode_array(points.neighbors, "<i4"),
        "notes": {int(at): printable(note) for at, note in points.notes.items()},
    }


def build_map_data(name: str, places: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    size = np.bincount(labels[labels >= 0])
    hearts = sorted(
        find_class_density_peaks(places, labels).items(), key=lambda one: -size[one[0]]
    )  # the largest class's name first
    return {
        "name": printable(name),
        "places": encode_array(places, "<f4"),
        "hearts": [(k, *place) for k, place in hearts],
    }


def encode_array(values: np.ndarray | None, dtype: str) -> str | None:
    return (
        None
        if values is None
        else base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")
    )


def encode_sprite_sheets(sheets: Sequence[np.ndarray]) -> tuple[str, list[bytes]]:
    """Sheets -> their media type and files: PNG, unless they are in colour and too large so."""
    files = [encode_png(sheet) for sheet in sheets]
    if sheets[0].ndim == 2 or sum(map(len, files)) <= MAX_PNG_BYTES:
        return "image/png", files
    return "image/webp", [encode_webp(sheet) for sheet in sheets]


def encode_webp(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> a WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=90)
    return buffer.getvalue()
