"""The commands that a sweep prints work as they are printed; one key has one list of values."""

import os
import re
import shlex
from pathlib import Path

import pytest

from cnnlab.core.errors import Stopped
from cnnlab.tasks.train import command
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer
from tests.conftest import TINY, Cnnlab

SHORT = ["train", "-m", *TINY, "epochs=1"]


def fail_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the second run of a sweep fail, and succeed the next time."""
    build_trainer, seeds = command.build_trainer, list[int]()

    def build(settings: TrainSettings) -> Trainer:
        seeds.append(settings.seed)
        if len(seeds) == 2:
            raise error
        return build_trainer(settings)

    monkeypatch.setattr(command, "build_trainer", build)


def find_command(err: str) -> list[str]:
    return shlex.split(err.split("`")[-2])[1:]


def list_states(text: str) -> list[str]:
    return re.findall(r"\b(finished|failed|interrupted)\b +\d", text)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["name=it's"], marks=pytest.mark.slow),
        pytest.param(["name=é"], marks=pytest.mark.slow),
        ['outputs=a b, it\'s "é"'],
    ],
)
def test_failed_runs_are_retried_by_the_printed_command(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    fail_once(monkeypatch, OSError("not there"))
    code, out, err = cnnlab(*SHORT, *words, "seed=1,2")
    assert code == 1 and err.endswith("` retries run 1\n")
    lines = out.splitlines()
    where = lines[lines.index("failed: 1; the reasons are in") + 1]
    assert Path(where).is_file(), "relative to the current folder"
    code, out, err = cnnlab(*find_command(err))
    assert (code, err) == (0, "") and re.search(r"seed=1,2 +2", out)


@pytest.mark.parametrize("name", ["it's", "é"])
def test_a_stopped_sweep_is_resumed_by_the_printed_command_in_any_folder(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = here / 'a "b" é'
    (folder / "c").mkdir(parents=True)
    monkeypatch.chdir(folder)
    fail_once(monkeypatch, Stopped("stopped", 15))
    code, _, err = cnnlab(*SHORT, f"name={name}", "seed=1,2")
    assert code == 143 and err.endswith("` resumes it\n")
    *words, resume = find_command(err)
    monkeypatch.chdir(folder / "c")
    sweep = Path(os.pardir, resume.removeprefix("resume="))
    code, out, err = cnnlab(*words, f"resume={sweep}")
    assert (code, err) == (0, "") and out.splitlines()[-1] == str(sweep)
    code, out, _ = cnnlab("runs", f"--outputs={os.pardir}/outputs")
    assert code == 0 and list_states(out) == ["finished"] * 2


def test_runs_that_would_fail_again_are_not_retried(cnnlab: Cnnlab, here: Path) -> None:
    """A new run with a lower rate is suggested; the sweep's next run is not disturbed by it."""
    code, out, err = cnnlab(*SHORT, "optim.lr=1e30,0.01")
    assert code == 1 and err.endswith("cnnlab: run 0 failed\n") and "run 1 (" in out
    command_line = re.search("try `cnnlab (.*)`, or", err)
    assert command_line and cnnlab(*shlex.split(command_line[1]))[0] == 0
    code, out, _ = cnnlab("runs")
    assert code == 0 and list_states(out).count("finished") == 2
    assert "the reasons are in\n    outputs/train/" in out


@pytest.mark.parametrize(
    "words", [("seed=1,2", "seed=3,4"), ("seed=1", "++seed=3,4"), ("seed=range(1,3)", "seed=5")]
)
def test_one_key_set_twice_is_refused_in_a_sweep(
    cnnlab: Cnnlab, here: Path, words: tuple[str, str]
) -> None:
    """The first list was dropped."""
    code, out, err = cnnlab(*SHORT, *words)
    expected = f"cnnlab: {words[0]} and {words[1]} set the same key: a sweep takes each key once\n"
    assert (code, out, err) == (2, "", expected)
    assert not list(here.iterdir())
