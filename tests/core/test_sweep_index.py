import statistics
from pathlib import Path

import pytest
import yaml

from cnnlab.core.errors import UsageError
from cnnlab.core.files import write_json
from cnnlab.core.sweep_index import (
    append_failure,
    find_sweep,
    format_mean_std,
    format_sweep_table,
    group_by_settings,
    list_numbered_runs,
    read_failures,
    record_start,
)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two learning rates by three seeds; one run failed."""
    folder = tmp_path / "train" / "2026-01-01_00-00-00_sweep"
    scores = {"0.1": [0.9, 0.92, 0.97], "0.2": [0.5, 0.6, None]}
    for number, (lr, seed) in enumerate((lr, seed) for lr in scores for seed in (1, 2, 3)):
        run, score = folder / str(number), scores[lr][seed - 1]
        run.mkdir(parents=True)
        write_json(run / "state.json", {"state": "finished" if score else "failed"})
        (run / "overrides.yaml").write_text(
            yaml.safe_dump(["epochs=2", f"optim.lr={lr}", f"seed={seed}"])
        )
        if score:
            write_json(run / "result.json", {"test": {"accuracy": score}})
    (folder / "multirun.yaml").write_text("")
    append_failure(folder / "5", {"reason": "x", "exit_code": 1})
    return folder


def test_runs_that_differ_only_in_seed_form_a_group(sweep: Path) -> None:
    first, second = group_by_settings(sweep)
    assert (first.overrides, first.seeds, first.test) == (
        ("optim.lr=0.1",),
        ("1", "2", "3"),
        (0.9, 0.92, 0.97),
    )
    assert (second.overrides, second.seeds, second.test) == (
        ("optim.lr=0.2",),
        ("1", "2"),
        (0.5, 0.6),
    )
    values = [90.0, 92.0, 97.0]
    assert (
        format_mean_std(first.test)
        == f"{statistics.mean(values):.2f}% ± {statistics.stdev(values):.2f}"
    )
    assert (format_mean_std((0.5,)), format_mean_std(())) == ("50.00%", "-")
    rows = format_sweep_table(sweep)
    assert (
        len(rows) == 5
        and rows[1].split()[:2] == ["optim.lr=0.1", "3"]
        and rows[1].endswith("93.00% ± 3.61")
    )
    assert rows[3:] == ["failed: 5; the reasons are in", f"{sweep}/failed.jsonl"]
    assert max(map(len, rows[:4])) <= 76


def test_runs_are_ordered_by_number(sweep: Path) -> None:
    for number in (10, 9):
        (sweep / str(number)).mkdir()
        write_json(sweep / str(number) / "state.json", {"state": "running"})
    numbers = [int(run.name) for run in list_numbered_runs(sweep)]
    assert numbers == [0, 1, 2, 3, 4, 5, 9, 10]


def test_a_sweep_is_found_by_folder_name_or_last(sweep: Path, tmp_path: Path) -> None:
    for name in (str(sweep), sweep.name, "last"):
        assert find_sweep(name, tmp_path) == sweep
    with pytest.raises(
        UsageError, match="no sweep nowhere: with -m, resume= takes a sweep's folder, or last"
    ):
        find_sweep("nowhere", tmp_path)


def test_unreadable_files_are_ignored(sweep: Path) -> None:
    (sweep / "failed.jsonl").write_bytes(
        b'\x80\x04\n[1]\n{"run": 3}\n{"run": "3", "exit_code": 1}\n{"cut'
    )
    (sweep / "0" / "overrides.yaml").write_bytes(b"\xff{{")
    (sweep / "1" / "result.json").write_text("[]")
    assert [row["run"] for row in read_failures(sweep)] == ["3"]
    assert format_sweep_table(sweep)


def test_a_sweep_of_any_sweeper_is_found_by_its_record(tmp_path: Path) -> None:
    """Only Hydra's own sweeper writes multirun.yaml."""
    with pytest.raises(UsageError, match="no sweep"):
        find_sweep(str(tmp_path), tmp_path)
    record_start(tmp_path)
    assert find_sweep(str(tmp_path), tmp_path) == tmp_path
