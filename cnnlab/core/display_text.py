"""Measure, cut and wrap names of any script, whose letters differ in width."""

import re
import unicodedata
from collections.abc import Callable

from cnnlab.core.quoting import printable

Measure = Callable[[str], float]
"""A text's width, the sum of its letters'."""

# The blocks whose letters are written from right to left: Hebrew, Arabic and others.
RTL_LETTERS = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff"
RTL_WORDS = re.compile(f"[{RTL_LETTERS}]+(?: [{RTL_LETTERS}]+)*")
ISOLATE, END_ISOLATE = "\u2068", "\u2069"  # of Unicode's bidirectional algorithm (UAX 9)


def isolate_rtl_words(text: str) -> str:
    """Return a text in which words written from right to left leave the order of the numbers and
    the punctuation beside them as it is."""
    return RTL_WORDS.sub(lambda match: f"{ISOLATE}{match[0]}{END_ISOLATE}", text)


def split_letters(text: str) -> list[str]:
    """Split a text into letters, each with its combining marks."""
    letters: list[str] = []
    for char in text:
        if letters and unicodedata.category(char).startswith("M"):
            letters[-1] += char
        else:
            letters.append(char)
    return letters


def count_columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: wide letters two, marks and signs of
    direction none."""
    if text.isascii():
        return len(text)
    widths = (2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
    marks = sum(unicodedata.category(char) in ("Mn", "Me", "Cf") for char in text)
    return sum(widths) - marks


def cut_middle(text: str, max_width: float, measure: Measure = count_columns) -> str:
    """Return a text of at most `max_width`; of a longer one the beginning and the end, with an
    ellipsis between them: long names often differ only at the end."""
    if measure(text) <= max_width:
        return text
    letters = split_letters(text)
    room = max_width - measure("…")
    head = take_letters(letters, room * 2 / 3, measure)
    tail = take_letters(letters[::-1], room - measure("".join(head)), measure)
    return "".join([*head, "…", *tail[::-1]])


def cut_end(text: str, max_width: float, measure: Measure = count_columns) -> str:
    """Return as much of a text's beginning, and an ellipsis, as takes at most `max_width`."""
    return "".join(take_letters(split_letters(text), max_width - measure("…"), measure)) + "…"


def take_letters(letters: list[str], max_width: float, measure: Measure) -> list[str]:
    """Return as many of the first letters as take at most `max_width`."""
    width = 0.0
    for count, letter in enumerate(letters):
        width += measure(letter)
        if width > max_width:
            return letters[:count]
    return letters


def wrap_words(
    text: str, max_width: float, measure: Measure = count_columns, max_lines: int | None = None
) -> list[str]:
    """Wrap a text into lines of at most `max_width`; a longer word is broken, and of more than
    `max_lines` the rest is cut, marked by an ellipsis."""
    lines, line = list[str](), ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if measure(longer) <= max_width:
            line = longer
            continue
        lines += [line] if line else []
        *parts, line = break_word(word, max_width, measure)
        lines += parts
    lines += [line] if line else []
    if max_lines is not None and len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], cut_end(lines[max_lines - 1], max_width, measure)]
    return lines


def break_word(word: str, max_width: float, measure: Measure) -> list[str]:
    """Break a word into parts of at most `max_width`, of one letter at least, after a hyphen or an
    underscore where there is one."""
    letters, parts = split_letters(word), list[str]()
    while letters:
        count = len(take_letters(letters, max_width, measure)) or 1
        if count < len(letters):
            joints = [i for i, letter in enumerate(letters[:count], 1) if letter in "-_"]
            count = max(joints, default=count)
        parts.append("".join(letters[:count]))
        letters = letters[count:]
    return parts


def cut_to_columns(text: str, columns: int) -> str:
    """Return the start of a text that fits into so many columns of a terminal."""
    if text.isascii():
        return text[:columns]
    return "".join(take_letters(split_letters(text), columns, count_columns))


def count_noun(count: float, noun: str) -> str:
    """Return a count with its noun in the right number: `1 epoch`, `2 classes`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    plural = f"{noun}es" if noun.endswith(("s", "tch")) else f"{noun}s"
    return f"{number} {noun if count == 1 else plural}"


def format_cell(name: str, width: int) -> str:
    """Return a name, made printable, cut and padded to the columns of a table's cell."""
    cut = cut_middle(printable(name), width)
    return isolate_rtl_words(cut) + " " * (width - count_columns(cut))
