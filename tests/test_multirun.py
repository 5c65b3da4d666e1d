"""`cnnlab train -m`, one after the other and side by side, and what is left when it does not go well."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from cnnlab.core import checkpoint
from cnnlab.core.run_index import read_run_state
from cnnlab.tasks.train import command
from tests.conftest import TINY, Cnnlab
from tests.forks import Forks
from tests.tasks.train.test_interruptions import nobody_left

SHORT = ["train", "-m", *TINY, "epochs=1"]
BESIDE = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def sweep_in(here: Path) -> Path:
    (folder,) = (here / "outputs" / "train").iterdir()
    return folder


def states(sweep: Path) -> list[str]:
    return [read_run_state(run) for run in sorted(sweep.glob("[0-9]*"))]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_checkpoint(checkpoint.find_checkpoint(run / "checkpoints", "last"))[0][
        "model"
    ]


def test_what_fails_is_said_at_once_and_made_again_without_what_is_done(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run fails for want of something that is there the next time."""
    true, seen = command.build_trainer, list[int]()

    def failing(settings: command.Settings) -> command.Training:
        seen.append(settings.seed)
        if len(seen) == 2:
            raise OSError("not\nthere")
        return true(settings)

    monkeypatch.setattr(command, "assemble", failing)
    code, out, err = cnnlab(*SHORT, "seed=1,2,3")
    sweep, said = sweep_in(here), err.splitlines()
    assert code == 1 and len(said) == 2 and seen == [1, 2, 3]
    assert said[0].startswith("cnnlab: run 1 (") and said[0].endswith(
        "failed: OSError: not there (--debug shows where)"
    )
    assert (
        said[1].startswith("cnnlab: run 1 failed; `cnnlab train -m ")
        and out.count("test accuracy's") == 2
    )
    assert states(sweep) == ["finished", "interrupted", "finished"]
    before = {path: path.stat().st_mtime_ns for n in "02" for path in (sweep / n).rglob("*")}
    again = said[1].split("`")[1].split()
    assert again[-1] == f"resume={sweep.relative_to(here)}"
    code, out, err = cnnlab(*SHORT, "seed=1,2,3", again[-1])
    assert (
        (code, err) == (0, "") and out.count("is finished: 1 epochs") == 2 and seen == [1, 2, 3, 2]
    )
    assert states(sweep) == ["finished"] * 3 and "seed=1,2,3    3" in out
    assert before == {
        path: path.stat().st_mtime_ns for n in "02" for path in (sweep / n).rglob("*")
    }
    assert cnnlab(*SHORT, "seed=1,2,3", "resume=last")[0] == 0
    assert not (sweep / "failed.jsonl").exists()


def test_another_sweeps_words_are_refused(cnnlab: Cnnlab, here: Path) -> None:
    assert cnnlab(*SHORT, "seed=1,2")[0] == 0
    code, _, err = cnnlab(*SHORT, "seed=1,3", "resume=last")
    assert (
        code == 2
        and "run 1 (" in err
        and "seed=2; resume= takes the words that the sweep was begun with" in err
    )
    assert states(sweep_in(here)) == ["finished"] * 2
    code, _, err = cnnlab(*SHORT, "seed=1,3", "resume=nowhere")
    assert (
        code == 2
        and err == "cnnlab: no sweep nowhere: with -m, resume= takes a sweep's folder, or last\n"
    )


def test_a_stopped_sweep_says_how_to_go_on(forks: Forks, here: Path) -> None:
    words = ["train", "-m", *TINY, "epochs=40", "seed=1,2"]
    number = forks.start(here, *words)
    while not list(here.glob("outputs/train/*/0/checkpoints/step*")):
        time.sleep(0.005)
    os.kill(number, signal.SIGINT)
    code, log = forks.wait(number), (here / "log.txt").read_text()
    assert code == 130 and log.splitlines()[-1].startswith(
        "cnnlab: the sweep was stopped; `cnnlab train -m "
    ), log
    code, log = forks.run(here, *words, "resume=last")
    assert (
        code == 0 and "going on after step" in log and states(sweep_in(here)) == ["finished"] * 2
    ), log


@pytest.mark.slow
def test_side_by_side_comes_to_the_same(forks: Forks, here: Path) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    words = [*SHORT, "threads=1", "seed=1,2"]
    assert forks.run(here, *words)[0] == 0
    alone = sweep_in(here)
    code, log = forks.run(here, *words, "outputs=beside", *BESIDE)
    assert code == 0 and "run 0 (" in log and "run 1 (" in log and "epoch 1/1" not in log, log
    (beside,) = (here / "beside" / "train").iterdir()
    for n in "01":
        assert all(torch.equal(weights(beside / n)[k], v) for k, v in weights(alone / n).items())
        assert "epoch 1/1" in (beside / n / "log.txt").read_text()
    environment = json.loads((beside / "0" / "environment.json").read_text())
    assert "joblib.externals" not in " ".join(environment["command"])
    code, log = forks.run(here, *words, "optim.lr=0.01,-1", "outputs=beside", *BESIDE)
    assert (
        code == 2
        and log.count("failed: optim: lr must be above 0") == 2
        and "runs 1, 3 failed" in log
    )


@pytest.mark.parametrize("after_s", [0.3, 1.2, pytest.param(2.0, marks=pytest.mark.slow)])
def test_a_sweep_side_by_side_is_stopped_soon_whenever_it_is(
    forks: Forks, here: Path, after_s: float
) -> None:
    """Before its processes are there, while they start, while they get ready."""
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    number = forks.start(
        here, "train", "-m", *TINY, "epochs=4000", "seed=1,2,3", "threads=1", *BESIDE
    )
    while not list(here.glob("outputs/train/*_sweep")):
        time.sleep(0.005)
    time.sleep(after_s)
    os.kill(number, signal.SIGTERM)
    began = time.monotonic()
    code, log = forks.wait(number), (here / "log.txt").read_text()
    assert code == 143 and nobody_left(number) and time.monotonic() - began < 20, log
    assert "cnnlab: the sweep was stopped" in log and "Traceback" not in log, log


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_runs_side_by_side_stop_together(forks: Forks, here: Path, kind: signal.Signals) -> None:
    """Ctrl-C reaches every process, SIGTERM and SIGKILL the first alone: each run is saved, and no process is left."""
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    words = ["train", "-m", *TINY, "epochs=400", "seed=1,2,3", "threads=1", *BESIDE]
    number, deadline = forks.start(here, *words), time.monotonic() + 60
    while len({path.parent for path in here.glob("outputs/train/*/*/checkpoints/step*")}) < 2:
        assert time.monotonic() < deadline, (here / "log.txt").read_text()
        time.sleep(0.005)
    (os.killpg if kind == signal.SIGINT else os.kill)(number, kind)
    code, log = forks.wait(number), (here / "log.txt").read_text()
    assert nobody_left(number) and "Traceback" not in log, log
    sweep = sweep_in(here)
    assert states(sweep)[:2] == ["interrupted"] * 2 and len(states(sweep)) <= 3
    reasons = [
        yaml.safe_load((sweep / n / "state.json").read_text()).get("reason", "") for n in "01"
    ]
    assert all(reason.startswith("stopped after step ") for reason in reasons)
    if kind != signal.SIGKILL:
        assert code == 128 + kind and "cnnlab: the sweep was stopped; `cnnlab train -m" in log
