"""The generated reference of the documentation site, and its configuration. mkdocs is not needed
here; `scripts/docs build` builds the site."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS_SITE = ROOT / "scripts" / "docs_site"
CONFIGS = ROOT / "configs"
VERB_FILES = sorted(CONFIGS.glob("*.yaml"))
OPTION_FILES = sorted(CONFIGS.glob("*/*.yaml"))


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS_SITE))
    yield importlib.import_module("reference_pages")
    sys.path.remove(str(DOCS_SITE))


@pytest.fixture(scope="module")
def pages(reference: ModuleType) -> dict[str, str]:
    return reference.list_pages()


def list_leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every key, as PyYAML reads the file."""
    for key, child in value.items():
        if isinstance(child, dict) and child:
            yield from list_leaves(child, f"{path}{key}.")
        elif key != "defaults":
            yield f"{path}{key}", child


def read_rows(text: str) -> dict[str, list[list[str]]]:
    """Return the cells of the rows of a page's tables of keys, by key."""
    rows: dict[str, list[list[str]]] = {}
    for line in re.findall(r"^\| `([\w.]+)` \| (.*) \|$", text, re.MULTILINE):
        rows.setdefault(line[0], []).append(re.split(r"(?<!\\) \| ", line[1]))
    return rows


@pytest.mark.parametrize("path", VERB_FILES, ids=lambda path: path.stem)
def test_page_of_a_verb_has_every_key(path: Path, pages: dict[str, str]) -> None:
    rows = read_rows(pages[f"reference/commands/{path.stem.replace('_', '-')}.md"])
    for key, default in list_leaves(yaml.safe_load(path.read_text())):
        if default != {}:
            ((kind, shown, meaning),) = rows[key]
            assert kind and meaning, key
            text = shown.strip("`").replace(r"\|", "|")
            assert (float if isinstance(default, float) else yaml.safe_load)(text) == default, key


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_page_of_a_group_has_every_key_of_an_option(path: Path, pages: dict[str, str]) -> None:
    group, text = path.parent.name, path.read_text()
    page = pages[f"reference/groups/{group}.md"]
    section = page.partition(f"## `{group}={path.stem}`\n")[2].partition("\n## ")[0]
    prefix = "" if text.startswith("# @package _global_") else f"{group}."
    rows = read_rows(section)
    for key, _ in list_leaves(yaml.safe_load(text)):
        (kind, _, meaning), *_ = rows[prefix + key]
        assert kind and meaning, key


def test_a_model_has_its_learning_rate_with_the_optimizer(pages: dict[str, str]) -> None:
    section = pages["reference/groups/model.md"].partition("## `model=cifar_bn`\n")[2]
    assert ["float", "`0.01`", "with `optim=adam`"] in read_rows(section)["optim.lr"]


def test_comments_continue_on_further_lines_and_stand_above_a_value(reference: ModuleType) -> None:
    text = "a: 1  # one\n#      two\nb:\n  c:  # three\n    [x, y]\n  d: '#'\n"
    rows = list(importlib.import_module("key_tables").list_yaml_rows(text, {"a": "float"}))
    assert [(row.key, row.type, row.default, row.meaning) for row in rows] == [
        ("a", "float", "1", "one two"),
        ("b.c", "list of str", "[x,y]", "three"),
        ("b.d", "str", "#", ""),
    ]


def test_navigation_names_every_page_once(pages: dict[str, str]) -> None:
    paths = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2])
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    unlisted = {"cifar10_runs/README.md"}
    copied = {"changelog.md", "license.md", "gallery/figures.md"}
    assert sorted(paths) == sorted((written - unlisted) | pages.keys() | copied)
