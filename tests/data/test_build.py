"""Data sets and pipelines from their configurations."""

import pytest

from cnnlab.core.errors import UsageError
from cnnlab.data.build import (
    build_pipelines,
    compute_input_shape,
    load_dataset,
    parse_data_settings,
)
from tests.tasks.test_trained_run import CONFIG


def test_invalid_data_settings_raise() -> None:
    assert parse_data_settings(CONFIG["dataset"]).light_on_dark is True
    with pytest.raises(UsageError, match=r"dataset.validation must be a number, not 'x'"):
        parse_data_settings(CONFIG["dataset"] | {"validation": "x"})
    with pytest.raises(
        UsageError, match=r"unknown key dataset\.rot; dataset takes root; did you mean root\?"
    ):
        load_dataset(CONFIG["dataset"] | {"rot": 1}, "test")
    with pytest.raises(
        UsageError, match=r"dataset.name 'digit' is not one of cifar10, digits, folder, mnist"
    ):
        load_dataset(CONFIG["dataset"] | {"name": "digit"}, "test")


def test_invalid_pipelines_raise() -> None:
    with pytest.raises(UsageError, match=r"augment.eval.shift is random"):
        build_pipelines({"preview": False, "train": {}, "eval": {"shift": {"px": 1}}})
    with pytest.raises(UsageError, match=r"augment.eval is missing"):
        build_pipelines({"preview": False, "train": {}})
    pipelines = build_pipelines(
        {
            "preview": False,
            "train": {},
            "eval": {"normalize": {"mean": [0.5] * 3, "std": [1.0] * 3}},
        }
    )
    with pytest.raises(UsageError, match=r"augment.eval: normalize has 3 channels, the images 1"):
        compute_input_shape(pipelines.eval, (1, 8, 8))


def test_compute_input_shape_allocates_no_memory() -> None:
    pipelines = build_pipelines(CONFIG["augment"])
    assert compute_input_shape(pipelines.eval, (1, 1 << 20, 1 << 20)) == (1, 1 << 20, 1 << 20)
