import pytest

from cnnlab.tasks.stylize.settings_checks import parse_duration


def test_parse_duration() -> None:
    for text, seconds in (
        ("30s", 30),
        ("2m", 120),
        ("1m30s", 90),
        ("1:30", 90),
        ("1:00:05", 3605),
        ("1h", 3600),
        ("0.5", 0.5),
    ):
        assert parse_duration(text) == seconds
    for text in ("", "0", "s", "1:3", "-1", "1x"):
        with pytest.raises(ValueError, match="time must be like"):
            parse_duration(text)
