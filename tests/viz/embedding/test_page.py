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

from cnnlab.viz.embedding import page as drawn
from cnnlab.viz.embedding.page import PagePoints, build_map_data, render_map_page

RNG = np.random.default_rng(0)
BAD = "</script><script>alert(1)</script><!--\n\u202e%data%\"'&"
SHOWN = r"</script><script>alert(1)</script><!--\n\u202e%data%" + "\"'&"


def points(n: int = 7, channels: int = 1, size: int = 5, **other: Any) -> PagePoints:
    given: dict[str, Any] = {
        "images": RNG.integers(0, 256, (n, size, size, channels), dtype=np.uint8),
        "maps": {"t-SNE": RNG.normal(size=(n, 2)), BAD: RNG.normal(size=(n, 2))},
        "names": [f"test #{i}" for i in range(n - 1)] + [BAD],
        "labels": np.array([-1, *(i % 2 for i in range(1, n))]),
        "classes": ["cat", BAD],
    }
    return PagePoints(**(given | other))


FULL = points(
    predictions=np.array([0, 1, 1, 1, 0, 1, 0]),
    probabilities=RNG.random(7),
    neighbors=RNG.integers(0, 7, (7, 3)),
    notes={3: BAD},
)
PAGE = render_map_page(BAD, [BAD, "a fact"], FULL)


def data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def array(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


class Reader(HTMLParser):
    """Which elements there are, what they refer to, and the text in each kind of them."""

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


def test_every_number_and_name_is_in_the_page_as_it_was_given() -> None:
    found = data(PAGE)
    for one, places in zip(found["maps"], FULL.maps.values(), strict=True):
        assert (array(one["coordinates"], "<f4").reshape(7, 2) == places.astype(np.float32)).all()
    assert (array(found["labels"], "<i4") == FULL.labels).all()
    assert (array(found["predictions"], "<i4") == FULL.predictions).all()
    assert (array(found["probabilities"], "<f4") == np.float32(FULL.probabilities)).all()
    assert (array(found["neighbors"], "<i4").reshape(7, 3) == FULL.neighbors).all()
    assert found["names"][:2] == ["test #0", "test #1"] and found["classes"] == ["cat", SHOWN]
    bare = data(render_map_page("t", [], points()))
    assert (
        bare["predictions"] is bare["probabilities"] is bare["neighbors"] is None
        and bare["notes"] == {}
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pictures_are_on_its_sheets_pixel_for_pixel(channels: int) -> None:
    some = points(channels=channels)
    found = data(render_map_page("t", [], some))
    (file,) = found["sheets"]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))).reshape(5, 35, channels)
    assert found["thumbnail_side"] == 5 and found["media_type"] == "image/png"
    assert (sheet.reshape(5, 7, 5, channels).swapaxes(0, 1) == some.images).all()


def test_only_colour_pictures_that_take_much_lose_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "MAX_PNG_BYTES", 10)
    smooth = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (64, 64, 3))
    assert drawn.encode_sprite_sheets([smooth[..., 0]])[0] == "image/png"
    kind, (file,) = drawn.encode_sprite_sheets([smooth])
    there = np.asarray(Image.open(io.BytesIO(file)), int)
    assert kind == "image/webp" and abs(there - smooth).max() < 12


def test_pictures_are_shrunk_to_what_a_browser_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert data(render_map_page("t", [], points(size=300)))["thumbnail_side"] == drawn.PAGE_THUMBNAIL_PX
    monkeypatch.setattr(drawn, "MAX_SPRITE_PIXELS", 7 * 16 * 16 + 1)
    assert data(render_map_page("t", [], points(size=300)))["thumbnail_side"] == 16


def test_names_that_are_code_stay_text() -> None:
    reader = Reader()
    reader.feed(PAGE)
    assert reader.tags.count("script") == 2 and PAGE.count("</script") == 2 and "<!--" not in PAGE
    assert reader.texts["title"] == reader.texts["h1"] == SHOWN and SHOWN in reader.texts["li"]
    found = data(PAGE)
    assert found["names"][-1] == found["notes"]["3"] == found["maps"][1]["name"] == SHOWN
    assert "\u202e" not in PAGE and "innerHTML" not in PAGE


def test_the_browser_is_told_to_run_this_script_only_and_to_fetch_nothing() -> None:
    policy = re.search(r'Content-Security-Policy"\s+content="([^"]+)"', PAGE)
    (script,) = re.findall(r"<script>(.*?)</script>", PAGE, re.DOTALL)
    code = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy and policy[1].split("; ") == [
        "default-src 'none'",
        "img-src data: blob:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{code}'",
    ]


def test_nothing_lies_outside_the_page() -> None:
    reader = Reader()
    reader.feed(PAGE)
    assert reader.links == ["data:,"]
    assert not re.search(r"://|url\(|@import|\bimport\b|\bfetch\(|XMLHttp|WebSocket|Worker", PAGE)


def test_a_class_is_named_where_most_of_it_lies_the_largest_first() -> None:
    spread = RNG.uniform(-10, 10, (100, 2))
    dense = RNG.normal((4, -3), 0.2, (300, 2))
    other = RNG.normal((-6, 6), 0.2, (50, 2))
    labels = np.repeat([1, 1, 0, -1], [100, 300, 50, 20])
    found = build_map_data("a", np.concatenate([spread, dense, other, spread[:20]]), labels)[
        "label_positions"
    ]
    (first, *where), (second, *there) = found
    assert (first, second) == (1, 0)
    assert np.allclose(where, (4, -3), atol=0.3) and np.allclose(there, (-6, 6), atol=0.3)
    assert build_map_data("a", np.zeros((2, 2)), np.array([0, -1]))["label_positions"] == [(0, 0.0, 0.0)]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"names": ["one"]}, "7 images need as many"),
        ({"maps": {}}, "finite coordinates for each"),
        ({"maps": {"PCA": np.full((7, 2), np.nan)}}, "finite coordinates for each"),
        ({"labels": np.full(7, 2)}, "out of range"),
        ({"predictions": np.full(7, -1)}, "out of range"),
        ({"neighbors": np.full((7, 1), 7)}, "out of range"),
    ],
)
def test_what_does_not_fit_together_is_refused(bad: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        points(**bad)
