"""Read YAML that may come from anybody: plain values of a bounded size."""

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from cnnlab.core.files import read_text

MAX_YAML_BYTES = 256 << 10  # PyYAML reads about 100 kB a second


class PlainLoader(yaml.SafeLoader):
    """Loads plain values and refuses aliases: a few nested ones stand for billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise ComposerError(None, None, f"the alias *{alias.anchor}", alias.start_mark)
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> Any:
    """Return the plain value of a YAML text. Raises ValueError, in a few words, for a text that is
    damaged, too long or too deeply nested, or that has aliases."""
    if len(text) > MAX_YAML_BYTES:
        raise ValueError(f"it is longer than {MAX_YAML_BYTES:,} characters")
    try:
        return yaml.load(text, PlainLoader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ComposerError as error:
        raise ValueError(f"{error.problem}, in line {find_line(error)}, is refused") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


class PlainDumper(yaml.SafeDumper):
    """Writes a value that occurs twice in full, not as an alias, which could not be read again."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def format_yaml(value: Any) -> str:
    """Return a plain value as YAML, its keys in their order."""
    return yaml.dump(value, Dumper=PlainDumper, sort_keys=False)


def find_line(error: yaml.MarkedYAMLError) -> int:
    """Return the number of the line where YAML is wrong, from 1."""
    return error.problem_mark.line + 1 if error.problem_mark else 1


def read_yaml(path: Path) -> Any:
    """Return the value of a YAML file, or None if it is missing, damaged or refused."""
    try:
        return parse_yaml(read_text(path, MAX_YAML_BYTES))
    except (OSError, ValueError):
        return None
