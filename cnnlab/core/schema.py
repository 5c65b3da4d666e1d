"""A part's schema is its builder's keyword signature: nothing is declared twice.

`def sgd(params, *, lr: float, momentum: float)` is what checks `optim: {name: sgd, lr: 0.1, momentum: 0.9}`.
"""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from cnnlab.core.errors import UsageError, format_unknown_choice, suggest_nearest
from cnnlab.core.quoting import printable

T = TypeVar("T")


TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    NoneType: "null",
}


def is_of_type(value: Any, kind: Any) -> bool:
    """Whether a plain value (as YAML or JSON has them) is of an annotated type. A whole number is a number."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return is_of_type(value, args[0])
    if origin in (Union, UnionType):
        return any(is_of_type(value, choice) for choice in args)
    if origin is Literal:
        return value in args
    if origin is list:
        return isinstance(value, list) and all(is_of_type(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(is_of_type(item, args[1]) for item in value.values())
    if kind is Any:
        return True
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def describe_type(kind: Any) -> str:
    """An annotated type as a reader would say it: `list[int]` -> `a list of whole numbers`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return describe_type(args[0])
    if origin in (Union, UnionType):
        return " or ".join(describe_type(choice) for choice in args)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in args)
    if origin is list:
        return f"a list, each {describe_type(args[0])}"
    if origin is dict or kind is dict:
        return "a mapping"
    return TYPE_NAMES.get(kind, str(kind))


def check_keywords(builder: Callable[..., Any], values: Mapping[str, Any], where: str) -> None:
    """Hold `values` against the keyword-only parameters of `builder`. Raises UsageError at the first misfit:
    an unknown key, a missing one, or a wrong type, named by its full path below `where`."""
    parameters = inspect.signature(builder).parameters
    keys = {k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    path = f"{where}." if where else ""
    for key, value in values.items():
        if key not in keys:
            known = ", ".join(keys) or "no keys"
            raise UsageError(
                f"unknown key {path}{printable(str(key))}; {where or 'it'} takes {known}{suggest_nearest(key, keys)}"
            )
        if not is_of_type(value, keys[key].annotation):
            raise UsageError(
                f"{path}{key} must be {describe_type(keys[key].annotation)}, not {value!r}"
            )
    for key, parameter in keys.items():
        if key not in values and parameter.default is parameter.empty:
            raise UsageError(
                f"{path}{key} is missing; it must be {describe_type(parameter.annotation)}"
            )


def call_checked(
    builder: Callable[..., T], values: Mapping[str, Any], where: str, *given: Any
) -> T:
    """`builder(*given, **values)` once `values` are checked; a ValueError of the builder's names `where`."""
    check_keywords(builder, values, where)
    try:
        return builder(*given, **values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}" if where else str(error)) from error


def get_registered(table: Mapping[str, T], name: Any, where: str) -> T:
    """The part that a registry holds under a name. Raises UsageError with the names there are."""
    if not isinstance(name, str) or name not in table:
        raise UsageError(format_unknown_choice(where, str(name), table))
    return table[name]


def select_keywords(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in spec.items() if k != "name"}


def build_registered(
    table: Mapping[str, Callable[..., T]], spec: Mapping[str, Any], where: str, *given: Any
) -> T:
    """The part that `spec` (`{name: ..., key: value, ...}`) describes, from a registry of builders."""
    return call_checked(
        get_registered(table, spec.get("name"), f"{where}.name"),
        select_keywords(spec),
        where,
        *given,
    )


def check_spec(
    table: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], where: str
) -> None:
    """Raises UsageError where `build` would for the keys of `spec` and their types; nothing is built."""
    check_keywords(
        get_registered(table, spec.get("name"), f"{where}.name"), select_keywords(spec), where
    )


Config = dict[str, Any]


def flatten_config(config: Config, path: str = "") -> dict[str, Any]:
    """Nested settings -> {"optim.lr": 0.001, ...}."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= (
            flatten_config(value, f"{path}{key}.")
            if isinstance(value, dict)
            else {f"{path}{key}": value}
        )
    return found
