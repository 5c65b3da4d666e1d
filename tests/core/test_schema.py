from typing import Any, Literal

import pytest

from cnnlab.core.errors import UsageError
from cnnlab.core.schema import (
    build_registered,
    call_checked,
    check_keywords,
    describe_type,
    is_of_type,
)


def builder(
    first: object,
    *,
    lr: float,
    steps: int,
    on: bool,
    kind: Literal["a", "b"],
    at: list[float] | None,
) -> dict[str, Any]:
    if lr <= 0:
        raise ValueError("lr must be above 0")
    return {"first": first, "lr": lr}


VALID = {"lr": 0.1, "steps": 3, "on": True, "kind": "a", "at": [1, 2.5]}


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, float, True),
        (True, float, False),
        (True, int, False),
        (1.0, int, False),
        ("1", int, False),
        (None, int | None, True),
        ([1, 2], list[int], True),
        ([1, "2"], list[int], False),
        ((1,), list[int], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "b"}, dict[str, int], False),
        ("x", Literal["x", "y"], True),
        ("z", Literal["x", "y"], False),
        (object(), Any, True),
    ],
)
def test_is_of_type(value: Any, kind: Any, expected: bool) -> None:
    assert is_of_type(value, kind) is expected


def test_call_checked_passes_valid_values() -> None:
    check_keywords(builder, VALID, "optim")
    assert call_checked(builder, VALID, "optim", 7) == {"first": 7, "lr": 0.1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"lrr": 1},
            "unknown key optim.lrr; optim takes lr, steps, on, kind, at; did you mean lr?",
        ),
        ({"steps": "x"}, "optim.steps must be a whole number, not 'x'"),
        ({"kind": "c"}, "optim.kind must be one of a, b, not 'c'"),
        ({"at": 3}, "optim.at must be a list, each a number or null, not 3"),
        ({"lr": -1}, "optim: lr must be above 0"),
        ({"first": 3}, "unknown key optim.first; optim takes lr, steps, on, kind, at"),
    ],
)
def test_invalid_value_error_names_the_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        call_checked(builder, VALID | change, "optim", 0)
    assert str(error.value) == message


def test_missing_key_error_names_the_type() -> None:
    with pytest.raises(UsageError, match=r"^optim.lr is missing; it must be a number$"):
        check_keywords(builder, {k: v for k, v in VALID.items() if k != "lr"}, "optim")


def test_build_registered_by_name_only() -> None:
    table = {"one": lambda *, x: x}
    with pytest.raises(UsageError, match=r"model.name 'on' is not one of one; did you mean one\?"):
        build_registered(table, {"name": "on", "x": 1}, "model")
    with pytest.raises(UsageError, match=r"unknown key model\._target_"):
        build_registered(
            {"one": builder}, VALID | {"name": "one", "_target_": "os.system"}, "model", 0
        )
    with pytest.raises(UsageError):
        build_registered(table, {"name": ["one"]}, "model")


def test_describe_nested_type() -> None:
    assert describe_type(list[int] | None) == "a list, each a whole number or null"
