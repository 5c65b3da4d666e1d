"""A part's schema is its builder's keyword signature: nothing is declared twice.

`def sgd(params, *, lr: float, momentum: float)` is what checks `optim: {name: sgd, lr: 0.1, momentum: 0.9}`.
"""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from cnnlab.core.errors import UsageError, nearest, not_one_of
from cnnlab.core.quoting import plain

T = TypeVar("T")


WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value (as YAML or JSON has them) is of an annotated type. A whole number is a number."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in args)
    if origin is Literal:
        return value in args
    if origin is list:
        return isinstance(value, list) and all(fits(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, args[1]) for item in value.values())
    if kind is Any:
        return True
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def words(kind: Any) -> str:
    """An annotated type as a reader would say it: `list[int]` -> `a list of whole numbers`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(words(one) for one in args)
    if origin is Literal:
        return "one of " + ", ".join(str(one) for one in args)
    if origin is list:
        return f"a list, each {words(args[0])}"
    if origin is dict or kind is dict:
        return "a mapping"
    return WORDS.get(kind, str(kind))


def check(builder: Callable[..., Any], values: Mapping[str, Any], where: str) -> None:
    """Hold `values` against the keyword-only parameters of `builder`. Raises UsageError at the first misfit:
    an unknown key, a missing one, or a wrong type, named by its full path below `where`."""
    parameters = inspect.signature(builder).parameters
    keys = {k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    path = f"{where}." if where else ""
    for key, value in values.items():
        if key not in keys:
            known = ", ".join(keys) or "no keys"
            raise UsageError(f"unknown key {path}{plain(str(key))}; {where or 'it'} takes {known}{nearest(key, keys)}")
        if not fits(value, keys[key].annotation):
            raise UsageError(f"{path}{key} must be {words(keys[key].annotation)}, not {value!r}")
    for key, parameter in keys.items():
        if key not in values and parameter.default is parameter.empty:
            raise UsageError(f"{path}{key} is missing; it must be {words(parameter.annotation)}")


def call(builder: Callable[..., T], values: Mapping[str, Any], where: str, *given: Any) -> T:
    """`builder(*given, **values)` once `values` are checked; a ValueError of the builder's names `where`."""
    check(builder, values, where)
    try:
        return builder(*given, **values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}" if where else str(error)) from error


def pick(table: Mapping[str, T], name: Any, where: str) -> T:
    """The part that a registry holds under a name. Raises UsageError with the names there are."""
    if not isinstance(name, str) or name not in table:
        raise UsageError(not_one_of(where, str(name), table))
    return table[name]


def keywords(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in spec.items() if k != "name"}


def build(table: Mapping[str, Callable[..., T]], spec: Mapping[str, Any], where: str, *given: Any) -> T:
    """The part that `spec` (`{name: ..., key: value, ...}`) describes, from a registry of builders."""
    return call(pick(table, spec.get("name"), f"{where}.name"), keywords(spec), where, *given)


def check_spec(table: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], where: str) -> None:
    """Raises UsageError where `build` would for the keys of `spec` and their types; nothing is built."""
    check(pick(table, spec.get("name"), f"{where}.name"), keywords(spec), where)


Config = dict[str, Any]


def flat(config: Config, path: str = "") -> dict[str, Any]:
    """Nested settings -> {"optim.lr": 0.001, ...}."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found
