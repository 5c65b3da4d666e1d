"""The Keys section of a command's help: generated from its settings and its YAML file."""

import pytest

from cnnlab.cli.keys_help import find_settings_class, list_key_rows
from cnnlab.config import read_task_defaults
from cnnlab.core.keys import iterate_keys
from tests.conftest import Cnnlab

TASKS = ("bench", "compare", "describe", "embed", "eval", "lr_find", "predict", "stylize")


@pytest.mark.parametrize("task", [*TASKS, "train", "visualize"])
def test_every_top_level_key_is_declared_or_a_group(task: str) -> None:
    defaults = read_task_defaults(task)
    declared = {name for name, _ in iterate_keys(find_settings_class(task))}
    groups = {name for name, value in defaults.items() if isinstance(value, dict)}
    assert defaults.keys() - {"defaults"} <= declared | groups
    assert declared <= defaults.keys()


def test_rows_give_default_meaning_and_range() -> None:
    rows = dict(list_key_rows("compare"))
    assert rows["thresholds=[0.75,0.8,0.85,0.9]"].endswith("above 0 and at most 1")
    assert rows["json=false"] == "print the numbers as JSON instead of text"


def test_help_of_every_command_ends_with_its_keys(cnnlab: Cnnlab) -> None:
    code, out, _ = cnnlab("lr-find", "-h")
    assert code == 0 and "\nKeys:\n" in out
    assert "smoothing=0.9" in out and out.rstrip().endswith("and the keys of `cnnlab train`")
    assert max(map(len, out.splitlines())) <= 80
