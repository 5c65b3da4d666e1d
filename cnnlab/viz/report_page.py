"""One HTML file that shows a run and needs nothing beside it: no script, and nothing that a browser would fetch."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from cnnlab.core.image import encode_png
from cnnlab.core.quoting import printable

REPORT_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 1080px; margin: 0 auto;
  padding: 1.5rem 1rem 4rem }}
h1 {{ font-size: 1.6rem; margin: 0 0 .3rem }} h2 {{ margin: 2.6rem 0 .4rem; border-bottom: 2px solid #0072B2 }}
nav a {{ margin-right: 1rem; white-space: nowrap }} a {{ color: #0072B2 }}
img, svg {{ max-width: 100%; height: auto; display: block }} figure {{ margin: 1rem 0 }}
.none {{ background: #f3f3f3; padding: .6rem .9rem }}
.wide {{ overflow-x: auto }} table {{ border-collapse: collapse; font-size: .9rem; margin: .8rem 0 }}
th, td {{ text-align: right; padding: .15rem .7rem; border-bottom: 1px solid #ddd }}
th:first-child, td:first-child {{ text-align: left; overflow-wrap: anywhere }}
td {{ font-variant-numeric: tabular-nums }}
</style></head><body>
"""


@dataclass(frozen=True)
class ReportFigure:
    """(H, W, 3) uint8, and what it says, for those who do not see it."""

    image: np.ndarray
    alt_text: str


@dataclass(frozen=True)
class ReportTable:
    """Names of columns, and rows of as many texts."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ReportSection:
    """A heading, what stands under it, and why something that one would expect is not there. `drawing` is SVG that
    names are escaped in already."""

    title: str
    text: str = ""
    table: ReportTable | None = None
    svg: str = ""
    figures: Sequence[ReportFigure] = field(default=())
    missing_reasons: Sequence[str] = field(default=())


def render_report_page(title: str, facts: Sequence[str], sections: Sequence[ReportSection]) -> str:
    """The whole page; every text is escaped."""
    links = "".join(
        f'<a href="#s{i}">{escape_html(one.title)}</a> ' for i, one in enumerate(sections)
    )
    parts = [REPORT_HEAD.format(title=escape_html(title)), f"<h1>{escape_html(title)}</h1>"]
    parts += [f"<div>{escape_html(fact)}</div>" for fact in facts]
    parts.append(f"<nav>{links}</nav>")
    parts += [section_to_html(number, one) for number, one in enumerate(sections)]
    return "\n".join([*parts, "</body></html>\n"])


def escape_html(text: str) -> str:
    return escape(printable(text))


def section_to_html(number: int, one: ReportSection) -> str:
    parts = [f'<h2 id="s{number}">{escape_html(one.title)}</h2>']
    if one.text:
        parts.append(f"<p>{escape_html(one.text)}</p>")
    if one.svg:
        parts.append(f'<div class="wide">{one.svg}</div>')
    if one.table:
        parts.append(table_to_html(one.table))
    parts += [figure_to_html(picture) for picture in one.figures]
    parts += [f'<p class="none">Not here: {escape_html(why)}</p>' for why in one.missing_reasons]
    return "\n".join(parts)


def table_to_html(table: ReportTable) -> str:
    """A table that scrolls by itself where it is wider than the page."""
    head = "".join(f"<th>{escape_html(cell)}</th>" for cell in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape_html(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def figure_to_html(picture: ReportFigure) -> str:
    """A picture within the page, with its own size, so that nothing jumps while it loads."""
    height, width = picture.image.shape[:2]
    data = base64.b64encode(encode_png(picture.image)).decode("ascii")
    text = escape_html(picture.alt_text)
    return f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{text}"></figure>'
