import json
import os
import shutil
from pathlib import Path

import pytest

from cnnlab.core.run_index import RunSummary
from cnnlab.tasks import runs
from cnnlab.tasks.runs import format_age
from tests.conftest import Cnnlab


def test_runs_are_listed_with_state_and_score(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    run = Path(shutil.copytree(tiny_run, here / "outputs" / "train" / tiny_run.name))
    test = json.loads((run / "result.json").read_text())["test"]["accuracy"]
    code, out, _ = cnnlab("runs")
    header, line, _ = out.splitlines()
    assert code == 0 and max(map(len, (header, line))) <= 80
    assert line.startswith(f"{run.name} digits_cnn digits  finished") and f"{test:.2%}" in line
    (row,) = json.loads(cnnlab("runs", "--json")[1])
    assert (row["state"], row["test"], row["step"], row["model"]) == (
        "finished",
        test,
        50,
        "digits_cnn",
    )
    (run / "result.json").unlink()
    assert f"v{row['validation']:.2%}" in cnnlab("runs")[1]


def test_empty_and_missing_output_folders(cnnlab: Cnnlab, here: Path) -> None:
    assert cnnlab("runs") == (0, "no runs below outputs/train; `cnnlab train` makes one\n", "")
    assert cnnlab("runs", "--outputs", "elsewhere", "--json") == (0, "[]\n", "")
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (200_000, "2d")]
)
def test_format_age(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


DAMAGE = {
    "deep state": ("state.json", "[" * 100_000),
    "state of another type": ("state.json", '{"state": ["finished"]}'),
    "deep settings": ("config.yaml", "[" * 5000),
    "aliases": ("config.yaml", "a: &a [1, 1]\nmodel: {name: *a}\ndataset: {name: x}"),
    "name of another type": ("config.yaml", "{model: {name: [1]}, dataset: {name: {a: 1}}}"),
    "long settings": ("config.yaml", "x" * 1_000_000),
    "no settings": ("config.yaml", ""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_run_is_unreadable_and_hides_no_other(
    cnnlab: Cnnlab, here: Path, tiny_run: Path, damage: str
) -> None:
    name, text = DAMAGE[damage]
    for run in ("b_whole", "a_damaged"):
        shutil.copytree(tiny_run, here / "outputs" / "train" / run)
    (here / "outputs" / "train" / "a_damaged" / name).write_text(text)
    code, out, err = cnnlab("runs")
    assert (code, err) == (0, "")
    damaged, whole = out.splitlines()[1:3]
    assert damaged.startswith("a_damaged") and "unreadable" in damaged
    assert whole.startswith("b_whole") and "finished" in whole
    rows = json.loads(cnnlab("runs", "--json")[1])
    assert [row["state"] for row in rows] == ["unreadable", "finished"]
    assert cnnlab("eval", "last", "mistakes=0")[0] == 0


@pytest.mark.parametrize(
    "accuracy", ["1" + "0" * 400, "1e400", "NaN", "-Infinity", '"0.5"', "true", "[1]", "7", "-0.1"]
)
def test_unusable_accuracy_is_none(
    cnnlab: Cnnlab, here: Path, tiny_run: Path, accuracy: str
) -> None:
    run = Path(shutil.copytree(tiny_run, here / "outputs" / "train" / tiny_run.name))
    (run / "result.json").write_text(f'{{"test": {{"accuracy": {accuracy}}}}}')
    code, out, err = cnnlab("runs")
    assert (code, err) == (0, "") and "  finished " in out and " v" in out.splitlines()[1]
    assert json.loads(cnnlab("runs", "--json")[1])[0]["test"] is None


@pytest.mark.parametrize(
    "name", ["state.json", "config.yaml", "result.json", "overrides.yaml", "checkpoints/x"]
)
def test_pipe_in_a_run_is_not_awaited(
    cnnlab: Cnnlab, here: Path, tiny_run: Path, name: str
) -> None:
    run = Path(shutil.copytree(tiny_run, here / "outputs" / "train" / tiny_run.name))
    path = run / name.replace("x", "step_000000050.safetensors")
    path.unlink()
    os.mkfifo(path)
    code, out, err = cnnlab("runs")
    assert (code, err) == (0, "") and tiny_run.name in out


def test_runs_that_are_removed_meanwhile_are_left_out(
    cnnlab: Cnnlab, here: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        shutil.copytree(tiny_run, here / "outputs" / "train" / name)
    read = runs.read_run_summary

    def remove_first(folder: Path) -> RunSummary:
        shutil.rmtree(here / "outputs" / "train" / "a", ignore_errors=True)
        return read(folder)

    monkeypatch.setattr(runs, "read_run_summary", remove_first)
    code, out, err = cnnlab("runs")
    assert (code, err) == (0, "") and [line.split()[0] for line in out.splitlines()[1:-1]] == ["b"]


def test_links_to_runs_are_listed(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    """Such as runs on another disk. A link that leads nowhere, or in a circle, is none."""
    folder = here / "outputs" / "train"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).symlink_to(tiny_run)
    (folder / "c").symlink_to(here / "nowhere")
    (folder / "d").symlink_to(folder / "d")
    (folder / "e").symlink_to(folder)
    rows = json.loads(cnnlab("runs", "--json")[1])
    assert [Path(row["folder"]).name for row in rows if row["sweep"] is None] == ["a", "b"]
    assert all(row["state"] == "finished" for row in rows)


def test_age_after_the_clock_was_set_back_is_zero(
    cnnlab: Cnnlab, here: Path, tiny_run: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, here / "outputs" / "train" / tiny_run.name))
    os.utime(run / "state.json", (2**33, 2**33))
    assert cnnlab("runs")[1].splitlines()[1].endswith(" 0s")
