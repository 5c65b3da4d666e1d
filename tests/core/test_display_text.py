from unicodedata import normalize

from cnnlab.core.display_text import (
    count_columns,
    count_noun,
    cut_end,
    cut_middle,
    cut_to_columns,
    format_cell,
    isolate_rtl_words,
    split_letters,
    wrap_words,
)

SHALOM = "\u05e9\u05dc\u05d5\u05dd"
ACCENTED = normalize("NFD", "café")  # é as a letter and a mark


def test_right_to_left_words_are_isolated_and_others_are_not() -> None:
    assert isolate_rtl_words("a_b $x$ 猫 é 12%") == "a_b $x$ 猫 é 12%"
    text = f"predicted {SHALOM} (15.6%), label {SHALOM} {SHALOM}"
    assert isolate_rtl_words(text) == (
        f"predicted \u2068{SHALOM}\u2069 (15.6%), label \u2068{SHALOM} {SHALOM}\u2069"
    )


def test_columns_of_wide_letters_marks_and_emoji() -> None:
    texts = ("abc", "猫", "한국어", ACCENTED, "🐈")
    assert [count_columns(text) for text in texts] == [3, 2, 6, 4, 2]
    assert split_letters(ACCENTED) == ["c", "a", "f", "e\u0301"]


def test_long_names_keep_their_beginning_and_end() -> None:
    names = [f"a class with a very long name, number {k:03d}" for k in range(200)]
    cut = {cut_middle(name, 12) for name in names}
    assert len(cut) == 200 and max(map(len, cut)) <= 12
    assert cut_middle("a" * 60, 12) == "aaaaaaa…aaaa" and cut_middle("short", 12) == "short"
    assert cut_middle("猫" * 60, 12) == "猫猫猫…猫猫"
    assert cut_end("one two", 4) == "one…"


def test_a_cut_does_not_part_a_letter_from_its_mark() -> None:
    for width in range(2, 20):
        assert not cut_middle("e\u0301" * 30, width).split("…")[1].startswith("\u0301")


def test_words_are_wrapped_and_long_ones_broken() -> None:
    assert wrap_words("one two three", 7) == ["one two", "three"]
    assert wrap_words("x" * 10, 4) == ["xxxx", "xxxx", "xx"] and wrap_words("", 4) == []
    assert wrap_words("integrated_gradients", 16) == ["integrated_", "gradients"]
    assert wrap_words("one two three four", 5, max_lines=2) == ["one", "two…"]
    assert wrap_words("猫" * 5, 4) == ["猫猫", "猫猫", "猫"] and wrap_words("猫", 1) == ["猫"]


def test_live_line_is_cut_to_the_columns_of_its_letters() -> None:
    assert cut_to_columns("漢字かな", 5) == "漢字"
    assert cut_to_columns("e\N{COMBINING ACUTE ACCENT}a", 1) == "e\N{COMBINING ACUTE ACCENT}"
    assert cut_to_columns("abc", 2) == "ab" and cut_to_columns("abc", 0) == ""


def test_counts_agree_with_their_nouns() -> None:
    counts = count_noun(1, "epoch"), count_noun(2000, "step"), count_noun(2, "class")
    assert counts == ("1 epoch", "2,000 steps", "2 classes")
    assert count_noun(0, "batch") == "0 batches" and count_noun(1.5, "epoch") == "1.5 epochs"


def test_table_cells_have_the_same_columns_in_every_script() -> None:
    names = ("cat", "猫猫猫", ACCENTED, SHALOM, "x" * 60, "a\nb\x1b[31m", "🐈" * 20)
    cells = [format_cell(name, 19).replace("\u2068", "").replace("\u2069", "") for name in names]
    assert [count_columns(cell) for cell in cells] == [19] * len(names)
    assert cells[5].startswith("a\\nb\\x1b[31m ")
