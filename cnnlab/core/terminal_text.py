"""The width of text on a terminal."""

import unicodedata
from collections.abc import Iterator


def count_columns(character: str) -> int:
    """Return how many columns a printable character takes: East Asian wide ones take two."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut_to_columns(text: str, columns: int) -> str:
    """Return the start of a text that fits into so many columns."""
    return text[:columns] if text.isascii() else "".join(iterate_fitting(text, columns))


def iterate_fitting(text: str, columns: int) -> Iterator[str]:
    """Yield the characters of a text until the columns are used up."""
    for character in text:
        columns -= count_columns(character)
        if columns < 0:
            return
        yield character
