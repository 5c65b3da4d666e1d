import os
from pathlib import Path

import pytest
import torch

from cnnlab.core import checkpoint
from cnnlab.core.errors import UsageError
from cnnlab.core.files import write_json
from cnnlab.core.lock import FolderLock
from cnnlab.core.run_index import find_run, list_runs, read_run_state, read_run_summary


def made(folder: Path, accuracy: float | None, when: float) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "state.json", {"state": "finished"})
    (folder / "config.yaml").write_text("model: {name: net}\ndataset: {name: data}\n")
    if accuracy is not None:
        record = {
            "config": {},
            "classes": [],
            "shape": [],
            "step": 4,
            "validation": {"accuracy": accuracy},
        }
        checkpoint.save_checkpoint(
            checkpoint.checkpoint_path(folder / "checkpoints", 4),
            {"model": {"w": torch.ones(1)}},
            record,
        )
    os.utime(folder / "state.json", (when, when))
    return folder


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    made(tmp_path / "train" / "2026-01-01_00-00-00_a", 0.7, 100)
    made(tmp_path / "train" / "2026-01-02_00-00-00_sweep" / "0", 0.8, 200)
    made(tmp_path / "train" / "2026-01-02_00-00-00_sweep" / "1", 0.9, 300)
    made(tmp_path / "train" / "2026-01-03_00-00-00_b", None, 400)
    return tmp_path


def test_last_is_the_newest_that_has_a_checkpoint(outputs: Path) -> None:
    assert find_run("last", outputs).name == "1"


def test_best_of_a_sweep_and_a_sweeps_number(outputs: Path) -> None:
    sweep = outputs / "train" / "2026-01-02_00-00-00_sweep"
    assert (
        find_run(f"{sweep.name}/best", outputs)
        == find_run(f"{sweep.name}/1", outputs)
        == sweep / "1"
    )
    assert find_run("best", outputs) == find_run(f"{sweep}/best", outputs) == sweep / "1"
    assert find_run(f"{sweep}/0", outputs) == sweep / "0"


def test_a_name_below_outputs_will_do(outputs: Path) -> None:
    assert find_run("2026-01-01_00-00-00_a", outputs).name.endswith("_a")


def test_what_is_no_run_is_named_with_the_choices(outputs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"is not a run's folder but holds runs 0, 1: name one, or .*/best"
    ):
        find_run(str(outputs / "train" / "2026-01-02_00-00-00_sweep"), outputs)
    with pytest.raises(UsageError, match="no run nowhere"):
        find_run("nowhere", outputs)
    with pytest.raises(UsageError, match="`cnnlab train` makes one"):
        find_run("last", tmp_path / "empty")
    with pytest.raises(UsageError, match="no sweep below"):
        find_run("best", tmp_path / "empty")


def test_a_listing_takes_whatever_it_finds(outputs: Path) -> None:
    broken = made(outputs / "train" / "2026-01-04_00-00-00_c", None, 500)
    (broken / "config.yaml").write_bytes(b"\xff\xfe{{{")
    (broken / "result.json").write_text("[1]")
    seen = [read_run_summary(folder) for folder in list_runs(outputs)]
    assert [(one.model, one.validation) for one in seen] == [
        ("net", 0.7), ("net", 0.8), ("net", 0.9), ("net", None), ("?", None),
    ]  # fmt: skip


def test_a_run_whose_process_is_gone_was_interrupted(tmp_path: Path) -> None:
    write_json(tmp_path / "state.json", {"state": "running"})
    assert read_run_state(tmp_path) == "interrupted"
    lock = FolderLock(tmp_path)
    lock.acquire(blocking=False)
    assert read_run_state(tmp_path) == "running"
    lock.release()
    assert read_run_state(tmp_path) == "interrupted"
    write_json(tmp_path / "state.json", {"state": "failed"})
    assert read_run_state(tmp_path) == "failed"
    assert read_run_state(tmp_path / "absent") == "interrupted"
