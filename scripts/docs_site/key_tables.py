"""The rows of the configuration reference: every key with its type, default and meaning.

Keys that a settings class declares have their meaning from there, the others from the comment
beside their default in configs/. Types are those of the functions that take the keys.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from cnnlab.cli.keys_help import find_settings_class, format_value
from cnnlab.config import CONFIG_DIR, list_groups, read_task_defaults
from cnnlab.core.keys import iterate_keys

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where there is one
Builder = Callable[..., Any]
RETURN_PHRASE = re.compile(r"^Return (the operation (that )?)?")
CONTINUED_COMMENT = re.compile(r"#\s{2,}|\s+#")


@dataclass(frozen=True)
class KeyRow:
    """A key as it is typed on the command line.

    `type` is empty where nothing declares it; `when`: the override that the default belongs to.
    """

    key: str
    type: str
    default: str
    meaning: str
    when: str = ""


def format_type(kind: Any) -> str:
    """Return an annotated type in the words of YAML: `int or null`, `list of float`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return format_type(args[0])
    if origin in (Union, UnionType):
        return " or ".join(format_type(choice) for choice in args)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in args)
    if origin is list:
        return f"list of {format_type(args[0])}"
    if origin is dict or kind is dict:
        return "mapping"
    names = {NoneType: "null", Path: "str", inspect.Parameter.empty: ""}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def read_types(builder: Builder | None) -> dict[str, str]:
    """Return the type of each keyword of a builder or settings class; {} without one."""
    parameters = inspect.signature(builder).parameters if builder else {}
    return {name: format_type(p.annotation) for name, p in parameters.items()}


def guess_type(default: Any) -> str:
    """Return the type of a default value; empty for null, which has none."""
    if isinstance(default, list):
        return f"list of {guess_type(default[0])}" if default else "list"
    return "" if default is None else format_type(type(default))


def list_declared_rows(verb: str) -> Iterator[KeyRow]:
    """Yield the keys that a verb's settings class declares, in its order."""
    settings, defaults = find_settings_class(verb), read_task_defaults(verb)
    types = read_types(settings)
    for name, info in iterate_keys(settings):
        yield KeyRow(name, types[name], format_value(defaults.get(name)), info.help)


def list_yaml_rows(text: str, types: Mapping[str, str], prefix: str = "") -> Iterator[KeyRow]:
    """Yield every key of a YAML file with the comment beside it.

    `types`: by path below the file's top. `prefix`: of the keys on the command line.
    """
    lines, values = text.splitlines(), yaml.load(text, LOADER)
    for path, node in walk_mapping(yaml.compose(text, LOADER), ()):
        default = reduce(getitem, path, values)
        kind = types.get(".".join(path)) or guess_type(default)
        comment = read_comment(lines, node.end_mark.line, node.end_mark.column)
        is_below_key = not lines[node.start_mark.line][: node.start_mark.column].strip()
        if not comment and is_below_key:
            comment = read_comment(lines, node.start_mark.line - 1, 0)
        yield KeyRow(prefix + ".".join(path), kind, format_value(default), comment)


def walk_mapping(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the node of each value below a mapping; empty mappings are values."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        inner = (*path, key.value)
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from walk_mapping(value, inner)
        elif inner != ("defaults",):
            yield inner, value


def read_comment(lines: list[str], line: int, column: int) -> str:
    """Return the comment after a place in a file, with the lines that continue it."""
    _, sign, comment = lines[line][column:].partition("#")
    words = [comment.strip()] if sign else []
    for following in lines[line + 1 :] if sign else ():
        if not CONTINUED_COMMENT.match(following):
            break
        words.append(following.partition("#")[2].strip())
    return " ".join(words)


def list_nested_rows(verb: str) -> Iterator[KeyRow]:
    """Yield the keys in the groups of configs/VERB.yaml, such as `tsne.perplexity`."""
    declared = {name for name, _ in iterate_keys(find_settings_class(verb))}
    types = {
        f"{group}.{name}": kind
        for group, builder in find_nested_builders(verb).items()
        for name, kind in read_types(builder).items()
    }
    text = (CONFIG_DIR / f"{verb}.yaml").read_text(encoding="utf-8")
    for row in list_yaml_rows(text, types):
        if row.key.partition(".")[0] not in declared:
            yield row


def find_nested_builders(verb: str) -> Mapping[str, Builder]:
    """Return what takes the keys of each group of configs/VERB.yaml."""
    from cnnlab.data.settings import AugmentSettings, MovedDataSettings
    from cnnlab.projection.registry import PROJECTIONS
    from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
    from cnnlab.style.settings import EncoderSettings
    from cnnlab.tasks.visualize.registry import VISUALIZERS

    groups: dict[str, Mapping[str, Builder]] = {
        "embed": PROJECTIONS,
        "stylize": {**IMAGE_OPTIMIZERS, "features": EncoderSettings},
        "train": {"augment": AugmentSettings},
        "visualize": VISUALIZERS,
    }
    return {"dataset": MovedDataSettings, **groups.get(verb, {})}


@cache
def list_verb_rows(verb: str) -> list[KeyRow]:
    """Return every key of a verb, those of the groups that it shares with others excepted."""
    return [*list_declared_rows(verb), *list_nested_rows(verb)]


@cache
def list_option_rows(group: str, option: str) -> list[KeyRow]:
    """Return the keys that configs/GROUP/OPTION.yaml sets, with its rates for optimizers."""
    text = (CONFIG_DIR / group / f"{option}.yaml").read_text(encoding="utf-8")
    prefix = "" if text.startswith("# @package _global_") else f"{group}."
    rows = list(list_yaml_rows(text, find_option_types(group, option), prefix))
    for path in sorted((CONFIG_DIR / group / "optim").glob(f"{option}_*.yaml")):
        optimizer = path.stem.removeprefix(f"{option}_")
        tuned = list_yaml_rows(path.read_text("utf-8"), find_option_types("optim", optimizer))
        rows += [replace(row, key=f"optim.{row.key}", when=f"optim={optimizer}") for row in tuned]
    return rows


def find_option_types(group: str, option: str) -> dict[str, str]:
    """Return the type of each key of configs/GROUP/OPTION.yaml, by its path in that file."""
    from cnnlab.data.settings import DataSettings
    from cnnlab.data.sources import SOURCES
    from cnnlab.engine.optim import OPTIMIZERS
    from cnnlab.engine.schedule import SCHEDULES
    from cnnlab.models import MODELS
    from cnnlab.style.losses import STYLE_LOSSES
    from cnnlab.style.settings import EncoderSettings

    if group == "model":
        own = read_types(MODELS[option])
        own |= {f"features.{key}": kind for key, kind in read_types(EncoderSettings).items()}
        return {f"model.{key}": kind for key, kind in own.items()} | read_types(
            find_settings_class("train")
        )
    if group == "dataset":
        return read_types(SOURCES[option]) | read_types(DataSettings)
    if group == "experiment":
        return read_types(find_settings_class("train"))
    tables: dict[str, Mapping[str, Builder]] = {
        "optim": OPTIMIZERS,
        "schedule": SCHEDULES,
        "style": STYLE_LOSSES,
    }
    return read_types(tables.get(group, {}).get(option))


def collect_meanings() -> dict[str, str]:
    """Return the meaning of each key by `group.key`, from wherever it has a comment."""
    train = {row.key: row.meaning for row in list_verb_rows("train")}
    encoder = {row.key: row.meaning for row in list_nested_rows("stylize")}
    nested = {f"model.{key}": meaning for key, meaning in encoder.items() if "features." in key}
    options = {
        row.key: row.meaning
        for group, names in list_groups().items()
        for name in names
        for row in list_option_rows(group, name)
        if row.meaning and group not in ("augment", "experiment")
    }
    names = {f"{group}.name": "the option's own name" for group in list_groups()}
    return names | options | nested | train


def list_operation_rows() -> list[tuple[str, str, list[KeyRow]]]:
    """Return (operation, what it does, its keys) for every operation of an `augment` pipeline.

    The defaults are those of configs/augment/every_operation.yaml.
    """
    from cnnlab.data.augment import OPERATIONS

    text = (CONFIG_DIR / "augment" / "every_operation.yaml").read_text(encoding="utf-8")
    examples = {row.key.partition(".")[2]: row for row in list_yaml_rows(text, {})}
    operations = []
    for name, builder in OPERATIONS.items():
        unset = KeyRow("", "", "", "")
        rows = [
            replace(examples.get(f"{name}.{key}", unset), key=f"{name}.{key}", type=kind)
            for key, kind in read_types(builder).items()
        ]
        summary = (inspect.getdoc(builder) or "").partition("\n\n")[0].replace("\n", " ")
        operations.append((name, RETURN_PHRASE.sub("", summary), rows))
    return operations
