from cnnlab.core.terminal_text import cut_to_columns


def test_wide_characters_take_two_columns() -> None:
    assert cut_to_columns("漢字かな", 5) == "漢字"
    assert cut_to_columns("e\N{COMBINING ACUTE ACCENT}a", 1) == "e\N{COMBINING ACUTE ACCENT}"


def test_ascii_is_cut_by_length() -> None:
    assert cut_to_columns("abc", 2) == "ab" and cut_to_columns("abc", 0) == ""
