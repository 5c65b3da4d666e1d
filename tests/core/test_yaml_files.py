"""YAML from anybody is read as plain values, or refused."""

import os
import time
from pathlib import Path

import pytest
import yaml

from cnnlab.core.yaml_files import MAX_YAML_BYTES, format_yaml, parse_yaml, read_yaml

ALIAS_BOMB = "\n".join(
    ["a0: &a0 [x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)


def test_plain_values_are_those_of_safe_load() -> None:
    text = "a: 1\nb: [x, 2.5, null, {c: 'd'}]\nname: null\n"
    assert parse_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", [ALIAS_BOMB, "a: &x {b: 1}\nc: *x", "&x a: 1\n<<: *x"])
def test_aliases_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"the alias \*.+, in line 2, is refused"):
        parse_yaml(text)


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(ALIAS_BOMB)
    began = time.monotonic()
    assert read_yaml(path) is None and time.monotonic() - began < 1


@pytest.mark.parametrize(
    "text", ["[" * 5000, "{a: " * 5000, "a: [", "a: !!python/name:os.system", "a\tb: %", "a: \x00"]
)
def test_a_damaged_or_deeply_nested_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_yaml(text)


def test_a_large_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("a: 1\n" + "#" * MAX_YAML_BYTES)
    os.mkfifo(tmp_path / "pipe")
    for name in ("large", "pipe", ".", "missing"):
        assert read_yaml(tmp_path / name) is None


def test_what_is_written_can_be_read() -> None:
    shared = [1, {"a": "é"}]
    value = {"b": shared, "a": {"c": shared}, "d": [shared, None, 1e-5, "1e-5", "null"]}
    assert parse_yaml(format_yaml(value)) == value and list(parse_yaml(format_yaml(value))) == [
        "b",
        "a",
        "d",
    ]
