"""Render a report as one HTML file that needs nothing beside it: no script, and nothing that a
browser would fetch."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnnlab.core.image import encode_png
from cnnlab.viz.html_template import render_template


@dataclass(frozen=True)
class ReportFigure:
    """(H, W, 3) uint8, and a text alternative for those who do not see it."""

    image: np.ndarray
    alt_text: str

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def png_base64(self) -> str:
        """The image as a PNG file in base64, as a data URL has it."""
        return base64.b64encode(encode_png(self.image)).decode("ascii")


@dataclass(frozen=True)
class ReportTable:
    """Names of columns, and rows of as many texts."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ReportSection:
    """A heading, its content, and why an expected figure is missing. `svg` must be escaped already;
    all else is escaped by the page."""

    title: str
    text: str = ""
    table: ReportTable | None = None
    svg: str = ""
    figures: Sequence[ReportFigure] = ()
    missing_reasons: Sequence[str] = ()


def render_report_page(title: str, facts: Sequence[str], sections: Sequence[ReportSection]) -> str:
    """Return the whole page as HTML."""
    return render_template("report_page.html", title=title, facts=facts, sections=sections)
