"""Declared keys: their ranges, their help and their flags."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from cnnlab.core.errors import UsageError
from cnnlab.core.keys import Key, Range, Settings, iterate_keys, select_keys
from cnnlab.core.schema import call_checked, is_of_type


@dataclass(frozen=True, kw_only=True)
class Example(Settings):
    epochs: Annotated[int, Key("passes over the images", minimum=1, resume=True)]
    decay: Annotated[float | None, Key("a share", above=0, below=1, compared=False)]
    sizes: Annotated[list[int], Key("of each side", unit="pixels", minimum=2)]
    name: str


GOOD = {"epochs": 1, "decay": 0.5, "sizes": [2, 3], "name": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"decay": 1.0}, "decay must be between 0 and 1, not 1.0"),
        ({"decay": 0}, "decay must be between 0 and 1, not 0"),
        ({"decay": float("nan")}, "decay must be between 0 and 1, not nan"),
        ({"sizes": [5, 1]}, r"sizes must be at least 2 each, not \[5, 1\]"),
        ({"epochs": 1.5}, "epochs must be a whole number, not 1.5"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call_checked(Example, GOOD | change, "")


def test_values_in_range_and_null_pass() -> None:
    assert call_checked(Example, GOOD | {"decay": None}, "").epochs == 1


def test_an_annotated_type_is_its_type() -> None:
    kind = Annotated[int | None, Key("a number", minimum=1)]
    assert is_of_type(None, kind) and is_of_type(0, kind) and not is_of_type("0", kind)


def test_help_gives_meaning_unit_and_range() -> None:
    helps = {name: info.help for name, info in iterate_keys(Example)}
    assert helps == {
        "epochs": "passes over the images; at least 1",
        "decay": "a share; between 0 and 1",
        "sizes": "pixels of each side; at least 2",
    }


def test_flags_select_keys() -> None:
    assert select_keys(Example, "can_change_on_resume") == ("epochs",)
    assert select_keys(Example, "is_compared") == ("epochs", "sizes")


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Range(), ""),
        (Range(minimum=0, below=1 << 40), "at least 0 and below 2^40"),
        (Range(above=0, maximum=1), "above 0 and at most 1"),
        (Range(minimum=2, maximum=64), "between 2 and 64"),
    ],
)
def test_a_range_in_words(allowed: Range, text: str) -> None:
    assert str(allowed) == text
