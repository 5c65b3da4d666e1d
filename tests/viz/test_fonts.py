"""Letters that the default font lacks; a font that has them is made for the test."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from cnnlab.viz import fonts
from cnnlab.viz.base import format_label, format_legend_label, render_figure, wrap_text

CAT = "\u732b"  # of no font that comes with matplotlib
CACHES = (fonts.find_family, fonts.list_fallback_fonts, fonts.measure_letter, fonts.open_font)


def make_font(path: Path, letters: str, height: int = 800) -> Path:
    """Write a font in which each letter is a square of 800 of 1,000 units, or less high."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((900, 0), (900, height), (100, height)):
        pen.lineTo(corner)
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    names = {ord(letter): f"u{ord(letter):04x}" for letter in letters}
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf({".notdef": empty} | dict.fromkeys(names.values(), square))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (1000, 100)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=100)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture(autouse=True)
def only_bundled_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No fonts beside matplotlib's; those appended to the list are as newly installed ones."""
    installed: list[str] = []
    bundled = [entry for entry in fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(fontManager, "ttflist", bundled)
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: installed)
    monkeypatch.setattr(fonts, "reported_packages", set())
    monkeypatch.setattr(fonts, "missing_letters", {})
    for function in CACHES:
        function.cache_clear()
    yield installed
    for function in CACHES:
        function.cache_clear()


def render_text(text: str) -> np.ndarray:
    figure = Figure(figsize=(3, 1), dpi=100)
    figure.text(0.05, 0.3, text, fontsize=40)
    return render_figure(figure)


def test_class_name_without_a_font_is_escaped_and_named_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert format_label(f"{CAT} 1") == r"\u732b 1"
    assert format_label("\ud55c\uad6d\uc5b4", 30) == r"\ud55c\uad6d\uc5b4"
    render_text("x")
    format_label(f"{CAT}\u72ac")
    render_text("x")
    assert capsys.readouterr().err == (
        f"figures: no font has {CAT} and 3 more, written as \\u732b: apt install fonts-noto-cjk\n"
    )


@pytest.mark.parametrize(
    ("letter", "package"),
    [
        ("\u3042", "fonts-noto-cjk"),
        ("\u30a2", "fonts-noto-cjk"),
        ("\uac00", "fonts-noto-cjk"),
        ("\uff21", "fonts-noto-cjk"),
        ("\u0e17", "fonts-noto-core"),
        ("\u0939", "fonts-noto-core"),
        ("\U0001f408", "fonts-symbola"),
    ],
)
def test_the_package_named_is_of_the_letters_script(letter: str, package: str) -> None:
    assert fonts.find_font_package(letter) == package


def test_cjk_class_names_are_drawn_with_an_installed_font(
    only_bundled_fonts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The font was installed after matplotlib listed the fonts, as after our advice."""
    only_bundled_fonts.append(str(make_font(tmp_path / "Square Sans.ttf", CAT)))
    assert format_label(f"a {CAT}") == f"a {CAT}"
    dark = (render_text(CAT) < 100).all(-1)
    rows, columns = dark.any(1).sum(), dark.any(0).sum()
    assert dark.sum() > 0.97 * rows * columns > 1500, "the square of that font"
    assert fonts.measure_em(CAT) == pytest.approx(fonts.HINTING)
    assert capsys.readouterr().err == ""


def test_a_sans_serif_font_is_preferred(only_bundled_fonts: list[str], tmp_path: Path) -> None:
    for name in ("A Brush.ttf", "Z Sans.ttf"):
        only_bundled_fonts.append(str(make_font(tmp_path / name, CAT)))
    assert fonts.find_family(CAT) == "Z Sans"


def test_a_damaged_font_is_left_out(only_bundled_fonts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "broken.ttf"
    path.write_bytes(b"not a font")
    only_bundled_fonts.append(str(path))
    assert format_label(CAT) == r"\u732b"


def test_no_text_is_drawn_as_boxes(recwarn: pytest.WarningsRecorder) -> None:
    """Emoji, Thai, marks, control characters and zero-width letters, as labels and as captions."""
    name = "\U0001f408 \u0e17 e\u0301 \x1b[31m \u200b \u202e \ufe0f $x_1$ ^_"
    for text in (format_label(name, 60), "\n".join(wrap_text(name, 3, 10))):
        render_text(text)
    assert not [str(each.message) for each in recwarn if "Glyph" in str(each.message)]


def test_right_to_left_name_does_not_scramble_a_caption(recwarn: pytest.WarningsRecorder) -> None:
    """The same letters in an order of their own: the number follows the name, not precedes it."""
    shalom = "\u05e9\u05dc\u05d5\u05dd"
    (line,) = wrap_text(f"is {shalom} (3), or {shalom}", 5, 10)
    expected = f"is \u202a{shalom}\u202c\u200e (3), or {shalom}"
    assert np.array_equal(render_text(line), render_text(expected))


def test_names_with_an_underscore_stay_in_the_legend() -> None:
    assert format_legend_label("_best", 36) == " _best"


def test_mathematics_in_a_name_is_text() -> None:
    for name in ("$x_1$", r"$\frac{1}{2}", r"\$", "$", "^_{}"):
        figure = Figure(dpi=100)
        text = figure.text(0, 0.5, format_label(name, 40))
        render_figure(figure)
        assert text.get_text().replace(r"\$", "$") == name


def test_wide_letters_are_measured() -> None:
    """Sixty of W take as much room as they get, and not half as much again."""
    for letter in ("W", "i", "m", "\u05e9", "e\u0301"):
        for line in wrap_text(letter * 60, 2, 8):
            figure = Figure(figsize=(4, 1), dpi=110)
            text = figure.text(0, 0.5, line, fontsize=8)
            render_figure(figure)
            assert text.get_window_extent(figure.canvas.get_renderer()).width <= 2 * 110 + 1
