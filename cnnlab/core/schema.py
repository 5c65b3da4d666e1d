"""Check configurations against the keyword signatures of the functions that take them.

`optim: {name: sgd, lr: 0.1, momentum: 0.9}` is checked against the signature
`def sgd(params, *, lr: float, momentum: float)`: no key is declared twice.
"""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from cnnlab.core.errors import UsageError, format_unknown_choice, suggest_nearest
from cnnlab.core.quoting import printable

Config = dict[str, Any]
T = TypeVar("T")

TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a string",
    NoneType: "null",
}


def is_of_type(value: Any, kind: Any) -> bool:
    """Return whether a plain value, as in YAML or JSON, is of an annotated type.

    An int is a float; a bool is neither.
    """
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
    """Return an annotated type in words: `a list, each a whole number` for `list[int]`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return describe_type(args[0])
    if origin in (Union, UnionType):
        return " or ".join(describe_type(choice) for choice in args)
    if origin is Literal:
        return "one of " * (len(args) > 1) + ", ".join(str(choice) for choice in args)
    if origin is list:
        return f"a list, each {describe_type(args[0])}"
    if origin is dict or kind is dict:
        return "a mapping"
    return TYPE_NAMES.get(kind, str(kind))


def check_keywords(builder: Callable[..., Any], values: Mapping[str, Any], where: str) -> None:
    """Check `values` against the keyword-only parameters of `builder`.

    Raises UsageError for the first unknown or missing key or wrong type, with its path below
    `where`.
    """
    parameters = inspect.signature(builder).parameters
    keys = {k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    path = f"{where}." if where else ""
    for key, value in values.items():
        if key not in keys:
            known = ", ".join(keys) or "no keys"
            raise UsageError(
                f"unknown key {path}{printable(str(key))}; "
                f"{where or 'it'} takes {known}{suggest_nearest(key, keys)}"
            )
        if not is_of_type(value, keys[key].annotation):
            expected = describe_type(keys[key].annotation)
            raise UsageError(f"{path}{key} must be {expected}, not {value!r}")
    for key, parameter in keys.items():
        if key not in values and parameter.default is parameter.empty:
            expected = describe_type(parameter.annotation)
            raise UsageError(f"{path}{key} is missing; it must be {expected}")


def call_checked(builder: Callable[..., T], values: Mapping[str, Any], where: str, *args: Any) -> T:
    """Return `builder(*args, **values)` after checking `values`.

    Raises UsageError, which names `where`, for invalid values and for ValueErrors of the builder.
    """
    check_keywords(builder, values, where)
    try:
        return builder(*args, **values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}" if where else str(error)) from error


def get_registered(table: Mapping[str, T], name: Any, where: str) -> T:
    """Return the entry of a registry by its name. Raises UsageError that lists the valid names."""
    if not isinstance(name, str) or name not in table:
        raise UsageError(format_unknown_choice(where, str(name), table))
    return table[name]


def select_keywords(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification without its `name`."""
    return {k: v for k, v in spec.items() if k != "name"}


def build_registered(
    table: Mapping[str, Callable[..., T]], spec: Mapping[str, Any], where: str, *args: Any
) -> T:
    """Build what `spec` (`{name: ..., key: value, ...}`) describes from a registry of builders."""
    builder = get_registered(table, spec.get("name"), f"{where}.name")
    return call_checked(builder, select_keywords(spec), where, *args)


def check_spec(
    table: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], where: str
) -> None:
    """Raise UsageError if the name, the keys or the types of `spec` are invalid."""
    builder = get_registered(table, spec.get("name"), f"{where}.name")
    check_keywords(builder, select_keywords(spec), where)


def flatten_config(config: Config, path: str = "") -> dict[str, Any]:
    """Return nested settings as {"optim.lr": 0.001, ...}."""
    flat: Config = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten_config(value, f"{path}{key}.")
        else:
            flat[f"{path}{key}"] = value
    return flat
