"""Find, for each letter of a figure's text, an installed font that has it."""

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache

from matplotlib.font_manager import (
    FontEntry,
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
)
from matplotlib.ft2font import FT2Font, LoadFlags
from matplotlib.text import Text

from cnnlab.core.display_text import END_ISOLATE, ISOLATE

DEFAULT_FAMILY = "DejaVu Sans"  # in which all figures are written; it comes with matplotlib
# They have a sign for every letter that no other font has: boxes with a script's symbol.
PLACEHOLDER_FAMILIES = ("Last Resort", "Adobe Blank", "Unicode BMP Fallback")
LAYOUT_CHARACTERS = frozenset(f"{ISOLATE}{END_ISOLATE}\n")  # they order letters and are not drawn
MISSING_WIDTH = 0.6  # em, of a letter that no font has
HINTING = 1.08  # small letters are widened to whole pixels by up to this factor
# The Debian package with a font for the letters whose Unicode name begins with a word.
FONT_PACKAGES = {
    "CJK": "fonts-noto-cjk",
    "HIRAGANA": "fonts-noto-cjk",
    "KATAKANA": "fonts-noto-cjk",
    "HANGUL": "fonts-noto-cjk",
    "FULLWIDTH": "fonts-noto-cjk",
    "IDEOGRAPHIC": "fonts-noto-cjk",
}
missing_letters: dict[str, list[str]] = {}  # {package: letters} that are not reported yet
reported_packages: set[str] = set()


def find_families(text: str) -> list[str]:
    """Return the families, beside the default one, that a text needs, in order of need."""
    families = (find_family(char) for char in text if ord(char) > 126)
    return list(dict.fromkeys(family for family in families if family))


def escape_missing_letters(text: str) -> str:
    """Return a text in which letters that no installed font has are escaped: `\\u732b`."""
    return "".join(
        char if ord(char) <= 126 or find_family(char) is not None else escape_letter(char)
        for char in text
    )


def escape_letter(char: str) -> str:
    """Return a letter escaped, and remember it for `report_missing_letters`."""
    missing_letters.setdefault(find_font_package(char), []).append(char)
    return ascii(char)[1:-1]


@cache
def find_family(char: str) -> str | None:
    """Return the family of an installed font that has a letter, "" for the default one, or None."""
    if char in LAYOUT_CHARACTERS or all(has_glyph(path, char) for path in find_default_fonts()):
        return ""
    for entry in list_fallback_fonts():
        if has_glyph(entry.fname, char):
            return str(entry.name)
    return None


@cache
def find_default_fonts() -> tuple[str, ...]:
    """Return the files of the default font, regular and bold."""
    properties = (FontProperties(family=DEFAULT_FAMILY, weight=w) for w in ("normal", "bold"))
    return tuple(str(findfont(each)) for each in properties)


@cache
def list_fallback_fonts() -> list[FontEntry]:
    """Return the other installed fonts, the upright sans-serif ones of medium weight first.

    Fonts that were installed after matplotlib listed them are among them.
    """
    listed = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in listed:
            with suppress(OSError, RuntimeError):  # damaged, or of bitmaps: as if not installed
                fontManager.addfont(path)
    entries = [
        entry for entry in fontManager.ttflist if not entry.name.startswith(PLACEHOLDER_FAMILIES)
    ]
    return sorted(entries, key=rank_font)


def rank_font(entry: FontEntry) -> tuple[bool, bool, int, str]:
    """Return a key by which suitable fonts come first, in the same order on every run."""
    weight = entry.weight if isinstance(entry.weight, int) else 400
    return entry.style != "normal", "Sans" not in entry.name, abs(weight - 400), entry.fname


@cache
def open_font(path: str) -> FT2Font | None:
    """Return a font with outlines; None for one of bitmaps, as of color emoji, or a damaged one."""
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return None
    return font if font.scalable else None


def has_glyph(path: str, char: str) -> bool:
    font = open_font(path)
    return font is not None and font.get_char_index(ord(char)) != 0


def set_fallback_fonts(texts: Iterable[Text]) -> None:
    """Let matplotlib take the letters that the default font lacks from other fonts."""
    for text in texts:
        if not text.get_text().isascii():
            families = [*text.get_fontfamily(), DEFAULT_FAMILY, *find_families(text.get_text())]
            text.set_fontfamily([*dict.fromkeys(families)])


def measure_em(text: str) -> float:
    """Return at least a text's width as matplotlib writes it, in em: of the font's size."""
    return HINTING * sum(map(measure_letter, text))


@cache
def measure_letter(char: str) -> float:
    """Return a letter's width in em."""
    family = find_family(char)
    if family is None or char in LAYOUT_CHARACTERS:
        return MISSING_WIDTH if family is None else 0.0
    path = find_default_fonts()[0]
    if family:
        path = next(e.fname for e in list_fallback_fonts() if has_glyph(e.fname, char))
    font = open_font(path)
    assert font is not None, "find_family opened it"
    width = font.load_char(ord(char), flags=LoadFlags.NO_SCALE).horiAdvance
    return float(width / font.units_per_EM)


def find_font_package(char: str) -> str:
    """Return the Debian package of a font that has a letter."""
    script = unicodedata.name(char, "").split("-")[0].split(" ")[0]
    symbol = "fonts-symbola" if unicodedata.category(char).startswith("S") else "fonts-noto-core"
    return FONT_PACKAGES.get(script, symbol)


def report_missing_letters() -> None:
    """Print, once for each package, which letters no font has and which package has them."""
    for package, letters in missing_letters.items():
        if package not in reported_packages:
            reported_packages.add(package)
            print(format_missing_letters(letters, package), file=sys.stderr)
    missing_letters.clear()


def format_missing_letters(letters: Sequence[str], package: str) -> str:
    """Return one line: the first letter that no font has, how it is written, and a package."""
    first, others = letters[0], len(set(letters)) - 1
    more = f" and {others} more" if others else ""
    return (
        f"figures: no font has {first}{more}, written as {ascii(first)[1:-1]}: "
        f"apt install {package}"
    )
