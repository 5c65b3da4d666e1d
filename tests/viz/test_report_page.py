import re
from html.parser import HTMLParser

import numpy as np

from cnnlab.viz.report_page import ReportFigure, ReportSection, ReportTable, render_report_page

BAD = "<script>alert(1)</script>\"'&\x1b[31m"
PAGE = render_report_page(
    BAD,
    [BAD],
    [
        ReportSection(
            BAD,
            BAD,
            ReportTable([BAD], [[BAD, "1"]]),
            figures=[ReportFigure(np.zeros((4, 6, 3), np.uint8), BAD)],
            missing_reasons=[BAD],
        ),
        ReportSection("Drawn", svg="<svg></svg>"),
    ],
)


class ElementReader(HTMLParser):
    """Collects the elements and their links."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "srcset", "data", "action")
        ]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_all_text_is_escaped_and_nothing_is_fetched() -> None:
    reader = ElementReader()
    reader.feed(PAGE)
    assert not {"script", "iframe", "object", "link rel=stylesheet", "form"} & set(reader.tags)
    assert (
        all(link.startswith(("data:", "#")) for link in reader.links)
        and reader.tags.count("img") == 1
    )
    assert "\x1b" not in PAGE and "url(" not in PAGE and "@import" not in PAGE
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', PAGE)
    assert policy and policy[1] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_figures_have_their_size_and_missing_ones_a_reason() -> None:
    assert 'width="6" height="4"' in PAGE and "<svg></svg>" in PAGE
    assert "Not shown: &lt;script&gt;" in PAGE
    assert PAGE.count("<h2") == 2 and '<a href="#s1">Drawn</a>' in PAGE


def test_right_to_left_names_are_isolated() -> None:
    name = "\u05e9\u05dc\u05d5\u05dd"
    table = ReportTable(["class", "images"], [[name, "3"]])
    page = render_report_page("t", [f"label {name} (3), {name}"], [ReportSection("s", table=table)])
    assert f"label \u2068{name}\u2069 (3), \u2068{name}\u2069" in page
    assert f"<td>\u2068{name}\u2069</td>" in page
