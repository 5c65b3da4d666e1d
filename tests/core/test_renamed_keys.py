"""Old names of keys: refused with the new one, and read where they were written."""

import pytest

from cnnlab.config import compose, list_keys
from cnnlab.core.renamed_keys import RENAMED_KEYS, find_new_name, rename_keys

PAIRS = [(task, old, new) for task, names in RENAMED_KEYS.items() for old, new in names.items()]


@pytest.mark.parametrize(("task", "old", "new"), PAIRS)
def test_the_new_name_is_a_key_and_the_old_one_is_not(task: str, old: str, new: str) -> None:
    keys = list_keys(task)
    keys += [f"dataset.{key}" for key in compose("train", ["dataset=folder"])["dataset"]]
    assert new in keys and old not in keys


def test_a_key_below_a_renamed_group_is_found() -> None:
    assert find_new_name("visualize", "dream.steps") == "activation_maximization.steps"
    assert find_new_name("visualize", "dream.most") == "activation_maximization.max_units"
    assert find_new_name("visualize", "saliency.samples") is None
    assert find_new_name("train", "twins") is None


def test_written_settings_are_read_under_the_new_names() -> None:
    old = {"piece": 5, "lbfgs": {"memory": 3}, "adam": {"lr": 0.1, "average": 0.9}, "size": 48}
    assert rename_keys("stylize", old) == {
        "max_tile_pixels": 5,
        "lbfgs": {"history_size": 3},
        "adam": {"lr": 0.1, "ema_decay": 0.9},
        "size": 48,
    }
