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

from cnnlab.core.image import png_bytes
from cnnlab.core.quoting import plain
from cnnlab.viz.embedding.layout import PALETTE, densest
from cnnlab.viz.embedding.sprites import atlas
from cnnlab.viz.report_page import said

TEMPLATE = Path(__file__).with_name("page.html")
TILE_PX, SHEET_PX = 96, 2048
MOST_PIXELS = 1 << 26  # of all tiles together: four bytes each in a browser
MOST_PNG_BYTES = 6_000_000  # colour pictures that take more are stored with some loss


@dataclass(frozen=True)
class Points:
    """N pictures, (N, H, W, C) uint8, where each lies on one or more maps of (N, 2), and what is known of them: the
    true class or -1, the predicted one and its probability, the (N, k) nearest others in feature space, nearest first,
    and what else there is to say of some."""

    pictures: np.ndarray
    maps: Mapping[str, np.ndarray]
    names: Sequence[str]
    labels: np.ndarray
    classes: Sequence[str]
    predictions: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    neighbours: np.ndarray | None = None
    notes: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError where lengths differ, a class or neighbour does not exist, or a place is not a number."""
        n = len(self.pictures)
        columns = [self.names, self.labels, self.predictions, self.probabilities, self.neighbours, *self.maps.values()]
        if any(len(column) != n for column in columns if column is not None):
            raise ValueError(f"there are {n} pictures, but not as many of everything else")
        if not n or not self.maps or not all(np.isfinite(places).all() for places in self.maps.values()):
            raise ValueError("a map needs pictures, and a place for each")
        ids = [(self.labels, -1, len(self.classes)), (self.predictions, 0, len(self.classes)), (self.neighbours, 0, n)]
        if any(values is not None and ((values < least) | (values >= most)).any() for values, least, most in ids):
            raise ValueError("a class or a neighbour is meant that is not there")


def map_page(title: str, facts: Sequence[str], points: Points) -> str:
    """The whole page; no text in it can become more than text, and it may run its own script only."""
    template = TEMPLATE.read_text(encoding="utf-8")
    _, script = template.split("<script>")
    parts = {
        "title": said(title),
        "facts": "".join(f"<li>{said(fact)}</li>" for fact in facts),
        "hash": base64.b64encode(hashlib.sha256(script.split("</script>")[0].encode()).digest()).decode("ascii"),
        "data": json.dumps(embedded(points), separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"%(title|facts|hash|data)%", lambda found: parts[found[1]], template)


def embedded(points: Points) -> dict[str, Any]:
    """What the page's script reads: numbers as base64 of little-endian float32 and int32."""
    tile = min(TILE_PX, math.isqrt(MOST_PIXELS // len(points.pictures)))
    kind, files = coded(atlas(points.pictures, tile, SHEET_PX))
    return {
        "cell": min(tile, max(points.pictures.shape[1:3])),
        "kind": kind,
        "sheets": [base64.b64encode(file).decode("ascii") for file in files],
        "maps": [placed(name, places, points.labels) for name, places in points.maps.items()],
        "names": [plain(name) for name in points.names],
        "colours": PALETTE,
        "classes": [plain(name) for name in points.classes],
        "labels": packed(points.labels, "<i4"),
        "predictions": packed(points.predictions, "<i4"),
        "probabilities": packed(points.probabilities, "<f4"),
        "neighbours": packed(points.neighbours, "<i4"),
        "notes": {int(at): plain(note) for at, note in points.notes.items()},
    }


def placed(name: str, places: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    size = np.bincount(labels[labels >= 0])
    hearts = sorted(densest(places, labels).items(), key=lambda one: -size[one[0]])  # the largest class's name first
    return {"name": plain(name), "places": packed(places, "<f4"), "hearts": [(k, *place) for k, place in hearts]}


def packed(values: np.ndarray | None, dtype: str) -> str | None:
    return None if values is None else base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def coded(sheets: Sequence[np.ndarray]) -> tuple[str, list[bytes]]:
    """Sheets -> their media type and files: PNG, unless they are in colour and too large so."""
    files = [png_bytes(sheet) for sheet in sheets]
    if sheets[0].ndim == 2 or sum(map(len, files)) <= MOST_PNG_BYTES:
        return "image/png", files
    return "image/webp", [webp_bytes(sheet) for sheet in sheets]


def webp_bytes(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> a WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=90)
    return buffer.getvalue()
