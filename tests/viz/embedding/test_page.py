import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.viz.embedding import page as page_module
from cnnlab.viz.embedding.page import PagePoints, build_map_data, render_map_page

RNG = np.random.default_rng(0)
MARKUP = "</script><script>alert(1)</script><!--\n\u202e%data%\"'&"
PRINTABLE_MARKUP = r"</script><script>alert(1)</script><!--\n\u202e%data%" + "\"'&"


def make_points(n: int = 7, channels: int = 1, size: int = 5, **changes: Any) -> PagePoints:
    defaults: dict[str, Any] = {
        "images": RNG.integers(0, 256, (n, size, size, channels), dtype=np.uint8),
        "maps": {"t-SNE": RNG.normal(size=(n, 2)), MARKUP: RNG.normal(size=(n, 2))},
        "names": [f"test #{i}" for i in range(n - 1)] + [MARKUP],
        "labels": np.array([-1, *(i % 2 for i in range(1, n))]),
        "classes": ["cat", MARKUP],
    }
    return PagePoints(**(defaults | changes))


FULL = make_points(
    predictions=np.array([0, 1, 1, 1, 0, 1, 0]),
    probabilities=RNG.random(7),
    neighbors=RNG.integers(0, 7, (7, 3)),
    notes={3: MARKUP},
)
PAGE = render_map_page(MARKUP, [MARKUP, "a fact"], FULL)


def read_page_data(page: str) -> dict[str, Any]:
    result = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert result
    return dict(json.loads(result[1]))


def decode_array(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


class PageReader(HTMLParser):
    """Collects the elements, their links, and the text by element."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "srcset", "data", "action")
        ]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, text: str) -> None:
        tag = self.tags[-1] if self.tags else ""
        self.texts[tag] = self.texts.get(tag, "") + text


def test_page_data_round_trips() -> None:
    result = read_page_data(PAGE)
    for map_data, coordinates in zip(result["maps"], FULL.maps.values(), strict=True):
        assert (
            decode_array(map_data["coordinates"], "<f4").reshape(7, 2)
            == coordinates.astype(np.float32)
        ).all()
    assert (decode_array(result["labels"], "<i4") == FULL.labels).all()
    assert (decode_array(result["predictions"], "<i4") == FULL.predictions).all()
    assert (decode_array(result["probabilities"], "<f4") == np.float32(FULL.probabilities)).all()
    assert (decode_array(result["neighbors"], "<i4").reshape(7, 3) == FULL.neighbors).all()
    assert result["names"][:2] == ["test #0", "test #1"] and result["classes"] == [
        "cat",
        PRINTABLE_MARKUP,
    ]
    minimal = read_page_data(render_map_page("t", [], make_points()))
    assert (
        minimal["predictions"] is minimal["probabilities"] is minimal["neighbors"] is None
        and minimal["notes"] == {}
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_sprite_sheets_are_lossless(channels: int) -> None:
    points_with_channels = make_points(channels=channels)
    result = read_page_data(render_map_page("t", [], points_with_channels))
    (file,) = result["sheets"]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))).reshape(5, 35, channels)
    assert result["thumbnail_side"] == 5 and result["media_type"] == "image/png"
    assert (sheet.reshape(5, 7, 5, channels).swapaxes(0, 1) == points_with_channels.images).all()


def test_only_large_color_sheets_are_lossy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_PNG_BYTES", 10)
    smooth = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (64, 64, 3))
    assert page_module.encode_sprite_sheets([smooth[..., 0]])[0] == "image/png"
    kind, (file,) = page_module.encode_sprite_sheets([smooth])
    decoded = np.asarray(Image.open(io.BytesIO(file)), int)
    assert kind == "image/webp" and abs(decoded - smooth).max() < 12


def test_thumbnails_are_limited_in_side_and_total_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        read_page_data(render_map_page("t", [], make_points(size=300)))["thumbnail_side"]
        == page_module.PAGE_THUMBNAIL_PX
    )
    monkeypatch.setattr(page_module, "MAX_SPRITE_PIXELS", 7 * 16 * 16 + 1)
    assert read_page_data(render_map_page("t", [], make_points(size=300)))["thumbnail_side"] == 16


def test_names_with_markup_are_escaped() -> None:
    reader = PageReader()
    reader.feed(PAGE)
    assert reader.tags.count("script") == 2 and PAGE.count("</script") == 2 and "<!--" not in PAGE
    assert (
        reader.texts["title"] == reader.texts["h1"] == PRINTABLE_MARKUP
        and PRINTABLE_MARKUP in reader.texts["li"]
    )
    result = read_page_data(PAGE)
    assert (
        result["names"][-1] == result["notes"]["3"] == result["maps"][1]["name"] == PRINTABLE_MARKUP
    )
    assert "\u202e" not in PAGE and "innerHTML" not in PAGE


def test_content_security_policy_allows_only_the_pages_script() -> None:
    policy = re.search(r'Content-Security-Policy"\s+content="([^"]+)"', PAGE)
    (script,) = re.findall(r"<script>(.*?)</script>", PAGE, re.DOTALL)
    code = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy and policy[1].split("; ") == [
        "default-src 'none'",
        "img-src data: blob:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{code}'",
    ]


def test_page_has_no_external_references() -> None:
    reader = PageReader()
    reader.feed(PAGE)
    assert reader.links == ["data:,"]
    assert not re.search(r"://|url\(|@import|\bimport\b|\bfetch\(|XMLHttp|WebSocket|Worker", PAGE)


def test_label_positions_are_density_peaks_largest_class_first() -> None:
    spread = RNG.uniform(-10, 10, (100, 2))
    dense = RNG.normal((4, -3), 0.2, (300, 2))
    other = RNG.normal((-6, 6), 0.2, (50, 2))
    labels = np.repeat([1, 1, 0, -1], [100, 300, 50, 20])
    result = build_map_data("a", np.concatenate([spread, dense, other, spread[:20]]), labels)[
        "label_positions"
    ]
    (first, *first_position), (second, *second_position) = result
    assert (first, second) == (1, 0)
    assert np.allclose(first_position, (4, -3), atol=0.3) and np.allclose(
        second_position, (-6, 6), atol=0.3
    )
    assert build_map_data("a", np.zeros((2, 2)), np.array([0, -1]))["label_positions"] == [
        (0, 0.0, 0.0)
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ["one"]}, "7 images need as many"),
        ({"maps": {}}, "finite coordinates for each"),
        ({"maps": {"PCA": np.full((7, 2), np.nan)}}, "finite coordinates for each"),
        ({"labels": np.full(7, 2)}, "out of range"),
        ({"predictions": np.full(7, -1)}, "out of range"),
        ({"neighbors": np.full((7, 1), 7)}, "out of range"),
    ],
)
def test_inconsistent_points_raise_value_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_points(**changes)
