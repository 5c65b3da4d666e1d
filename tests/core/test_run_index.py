import os
from pathlib import Path

import pytest
import torch

from cnnlab.core import checkpoint
from cnnlab.core.errors import UsageError
from cnnlab.core.files import write_json
from cnnlab.core.lock import FolderLock
from cnnlab.core.run_index import (
    START_FILE,
    find_newest_sweep,
    find_run,
    list_runs,
    read_run_state,
    read_run_summary,
    read_sweep_start,
)


def make_run(folder: Path, accuracy: float | None, modified_s: float) -> Path:
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
    os.utime(folder / "state.json", (modified_s, modified_s))
    return folder


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    make_run(tmp_path / "train" / "2026-01-01_00-00-00_a", 0.7, 100)
    make_run(tmp_path / "train" / "2026-01-02_00-00-00_sweep" / "0", 0.8, 200)
    make_run(tmp_path / "train" / "2026-01-02_00-00-00_sweep" / "1", 0.9, 300)
    make_run(tmp_path / "train" / "2026-01-03_00-00-00_b", None, 400)
    return tmp_path


def test_last_is_the_newest_run_with_a_checkpoint(outputs: Path) -> None:
    assert find_run("last", outputs).name == "1"


def test_best_and_numbered_runs_of_a_sweep(outputs: Path) -> None:
    sweep = outputs / "train" / "2026-01-02_00-00-00_sweep"
    assert (
        find_run(f"{sweep.name}/best", outputs)
        == find_run(f"{sweep.name}/1", outputs)
        == sweep / "1"
    )
    assert find_run("best", outputs) == find_run(f"{sweep}/best", outputs) == sweep / "1"
    assert find_run(f"{sweep}/0", outputs) == sweep / "0"


def test_a_name_below_outputs_is_found(outputs: Path) -> None:
    assert find_run("2026-01-01_00-00-00_a", outputs).name.endswith("_a")


def test_unknown_runs_are_reported_with_the_choices(outputs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"is not a run's folder but holds runs 0, 1: name one, or .*/best"
    ):
        find_run(str(outputs / "train" / "2026-01-02_00-00-00_sweep"), outputs)
    (tmp_path / "a").mkdir()
    path = str(tmp_path / "a")
    with pytest.raises(UsageError, match=r"is not a run's folder(.|\n)*`cnnlab runs .*` lists"):
        find_run(path, outputs)
    with pytest.raises(UsageError, match=r"no run a; did you mean .*00-00-00_a\?"):
        find_run("a", outputs)
    with pytest.raises(UsageError, match="no run nowhere"):
        find_run("nowhere", outputs)
    with pytest.raises(UsageError, match=r"`cnnlab train outputs=[^ ]* makes one"):
        find_run("last", tmp_path / "empty")
    with pytest.raises(UsageError, match="no sweep below"):
        find_run("best", tmp_path / "empty")


def test_unreadable_files_do_not_break_the_list(outputs: Path) -> None:
    broken = make_run(outputs / "train" / "2026-01-04_00-00-00_c", None, 500)
    (broken / "config.yaml").write_bytes(b"\xff\xfe{{{")
    (broken / "result.json").write_text("[1]")
    summaries = [read_run_summary(folder) for folder in list_runs(outputs)]
    assert [(run.model, run.validation) for run in summaries] == [
        *(("net", accuracy) for accuracy in (0.7, 0.8, 0.9, None)),
        ("?", None),
    ]


def test_a_run_whose_process_died_is_interrupted(tmp_path: Path) -> None:
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


def test_the_newest_sweep_is_the_one_started_last_whatever_the_time_zone(outputs: Path) -> None:
    earlier = outputs / "train" / "2026-01-02_00-00-00_sweep"
    later = outputs / "train" / "2026-01-01_20-00-00_sweep"
    make_run(later / "0", 0.5, 100)
    write_json(earlier / START_FILE, {"started": 1000})
    write_json(later / START_FILE, {"started": 2000.5})
    assert find_newest_sweep(outputs) == later
    write_json(earlier / START_FILE, {"started": 3000})
    assert find_newest_sweep(outputs) == earlier


@pytest.mark.parametrize("text", ["", "[]", '{"started": "x"}', '{"started": NaN}'])
def test_the_start_of_a_sweep_without_a_record_is_that_of_its_first_run(
    outputs: Path, text: str
) -> None:
    sweep = outputs / "train" / "2026-01-02_00-00-00_sweep"
    assert read_sweep_start(sweep) == 0
    (sweep / START_FILE).write_text(text)
    for run, time_s in (("0", 50), ("1", 60)):
        write_json(sweep / run / "environment.json", {})
        os.utime(sweep / run / "environment.json", (time_s, time_s))
    assert read_sweep_start(sweep) == 50
