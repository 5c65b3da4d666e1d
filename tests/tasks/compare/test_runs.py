from pathlib import Path

from cnnlab.engine.learning_curves import MetricCurve
from cnnlab.tasks.compare.runs import RunCurves, build_curves, find_differing_keys, format_setting


def test_root_distinguishes_folder_data_sets_only() -> None:
    def get_settings(name: str, root: str) -> dict[str, object]:
        return RunCurves(
            Path(), {"dataset": {"name": name, "root": root}, "model": {}}, {}
        ).settings

    assert get_settings("folder", "a") != get_settings("folder", "b")
    assert get_settings("cifar10", "a") == get_settings("cifar10", "b")


def test_build_curves_uses_last_row_and_merges_short_windows() -> None:
    rows = [
        {"step": 2, "elapsed_s": 1.0, "train/loss": 4.0},
        {"step": 2, "elapsed_s": 1.5, "train/loss": 3.0},
        {"step": 3, "elapsed_s": 2.0, "train/loss": 1.0},
        {"step": 3, "elapsed_s": 2.0, "validation/loss": 7.0},
        {"step": 4, "elapsed_s": 3.0, "train/loss": 2.0},
    ]
    assert build_curves(rows, 2) == {
        "train_loss": MetricCurve((2, 4), (1.5, 3.0), (3.0, 1.5)),
        "validation_loss": MetricCurve((3,), (2.0,), (7.0,)),
    }


def test_find_differing_keys_and_format_setting() -> None:
    assert find_differing_keys([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}]) == ["b", "c"]
    assert [format_setting(value) for value in (None, True, 0.5, "x", [1, 2], {"a": 1})] == [
        "null",
        "true",
        "0.5",
        "x",
        "[1,2]",
        "{a:1}",
    ]
