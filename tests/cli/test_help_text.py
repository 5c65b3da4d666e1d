import re

import pytest

from cnnlab import config
from cnnlab.cli import help_text
from cnnlab.tasks.visualize.registry import VISUALIZERS

TEXTS = {name: text for name, text in vars(help_text).items() if name.endswith("_HELP")}


@pytest.mark.parametrize("name", TEXTS)
def test_examples_are_of_the_command_and_fit_80_columns(name: str) -> None:
    verb = name.removesuffix("_HELP").lower().replace("_", "-")
    examples = [line for line in TEXTS[name].splitlines() if line.startswith("  cnnlab ")]
    assert examples and all(re.match(rf"  cnnlab {verb}\b", line) for line in examples)
    assert all(len(line) <= 78 for line in TEXTS[name].splitlines())  # two columns are indented


def test_the_groups_of_train_list_every_file() -> None:
    rows = " ".join(help_text.format_group_help().split())
    listed = dict(re.findall(r"(\w+)= ((?:\w+ \| )*\w+)", rows))
    assert {"model", "dataset", "augment", "optim", "schedule", "experiment"} == listed.keys()
    for group, options in listed.items():
        names = {file.stem for file in (config.CONFIG_DIR / group).glob("*.yaml")}
        assert set(options.split(" | ")) == names


def test_every_visualizer_is_described() -> None:
    section = TEXTS["VISUALIZE_HELP"].split("Visualizers:")[1]
    assert re.findall(r"^  (\w+) ", section, re.M) == list(VISUALIZERS)
