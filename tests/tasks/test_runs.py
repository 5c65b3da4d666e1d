import json
import shutil
from pathlib import Path

import pytest

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
