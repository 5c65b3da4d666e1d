"""`cnnlab train -m`, sequentially and in parallel processes; failures, signals and resuming."""

import json
import math
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError
from cnnlab.core.run_index import read_run_state
from cnnlab.core.sweep_index import append_failure
from cnnlab.multirun import PARENT_PID_VARIABLE, Sweep, count_failed_runs, run_job
from cnnlab.tasks.train import command
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer
from tests.conftest import TINY, Cnnlab
from tests.fork_server import Forks
from tests.tasks.train.test_interruptions import nobody_left

SHORT = ["train", "-m", *TINY, "epochs=1"]
PARALLEL = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def sweep_in(here: Path) -> Path:
    (folder,) = (here / "outputs" / "train").iterdir()
    return folder


def states(sweep: Path) -> list[str]:
    return [read_run_state(run) for run in sorted(sweep.glob("[0-9]*"))]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_checkpoint(checkpoint.find_checkpoint(run / "checkpoints", "last"))[0][
        "model"
    ]


@pytest.mark.slow
def test_failed_runs_are_reported_and_resumed_without_the_finished_ones(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run lacks something that exists the next time."""
    build_trainer, seeds = command.build_trainer, list[int]()

    def fail_second(settings: TrainSettings) -> Trainer:
        seeds.append(settings.seed)
        if len(seeds) == 2:
            raise OSError("not\nthere")
        return build_trainer(settings)

    monkeypatch.setattr(command, "build_trainer", fail_second)
    code, out, err = cnnlab(*SHORT, "seed=1,2,3")
    sweep, lines = sweep_in(here), err.splitlines()
    assert code == 1 and len(lines) == 2 and seeds == [1, 2, 3]
    assert lines[0].startswith("cnnlab: run 1 (") and lines[0].endswith(
        "failed: OSError: not there (--debug shows where)"
    )
    assert (
        lines[1].startswith("cnnlab: run 1 failed; `cnnlab train -m ")
        and out.count("interval of the test accuracy") == 2
    )
    assert states(sweep) == ["finished", "interrupted", "finished"]
    before = {path: path.stat().st_mtime_ns for n in "02" for path in (sweep / n).rglob("*")}
    resume = lines[1].split("`")[1].split()[-1]
    assert resume == f"resume={sweep.relative_to(here)}"
    code, out, err = cnnlab(*SHORT, "seed=1,2,3", resume)
    assert (
        (code, err) == (0, "") and out.count("is finished: 1 epoch,") == 2 and seeds == [1, 2, 3, 2]
    )
    assert states(sweep) == ["finished"] * 3 and "seed=1,2,3    3" in out
    assert before == {
        path: path.stat().st_mtime_ns for n in "02" for path in (sweep / n).rglob("*")
    }
    assert cnnlab(*SHORT, "seed=1,2,3", "resume=last")[0] == 0
    assert not (sweep / "failed.jsonl").exists()


def test_overrides_of_another_sweep_are_refused(cnnlab: Cnnlab, here: Path) -> None:
    assert cnnlab(*SHORT, "seed=1,2")[0] == 0
    code, _, err = cnnlab(*SHORT, "seed=1,3", "resume=last")
    assert (
        code == 2
        and "run 1 (" in err
        and "seed=2; resume= takes the same overrides as the sweep" in err
    )
    assert states(sweep_in(here)) == ["finished"] * 2
    code, _, err = cnnlab(*SHORT, "seed=1,3", "resume=nowhere")
    assert (
        code == 2
        and err == "cnnlab: no sweep nowhere: with -m, resume= takes a sweep's folder, or last\n"
    )


SEARCH = ["hydra/sweeper=optuna", "optim.lr=interval(0.1,0.2)"]


def test_a_stopped_search_names_no_command_that_would_search_anew(here: Path) -> None:
    sweep = Sweep("train", SEARCH, "")
    (sweep.folder / "0").mkdir()
    assert str(sweep.stopped_error(2)) == "the sweep was stopped"
    (sweep.folder / "0" / "config.yaml").write_text("")
    assert str(sweep.stopped_error(2)) == f"the sweep was stopped; its runs are in {sweep.folder}"
    append_failure(sweep.folder / "0", {"reason": "x", "exit_code": 1, "can_retry": True})
    with pytest.raises(CnnlabError, match=r"^run 0 failed$"):
        sweep.report_result(0)


def test_a_search_cannot_be_resumed(cnnlab: Cnnlab, here: Path) -> None:
    code, _, err = cnnlab(*SHORT, *SEARCH, "resume=last")
    assert (code, len(err.splitlines()), list(here.iterdir())) == (2, 2, [])
    assert err.startswith("cnnlab: a sweep by hydra/sweeper=optuna cannot be resumed\n")


def test_outputs_deleted_during_a_sweep_fail_it(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_trainer = command.build_trainer

    def delete_outputs(settings: TrainSettings) -> Trainer:
        trainer = build_trainer(settings)
        shutil.rmtree(here / "outputs")
        return trainer

    monkeypatch.setattr(command, "build_trainer", delete_outputs)
    code, _, err = cnnlab(*SHORT, "seed=1,2")
    assert code == 1 and "Traceback" not in err
    assert err.count("failed: ") == 2 and "2 runs failed" in err.splitlines()[-1]


def test_a_failed_worker_whose_folder_is_gone_reports_and_returns_nan(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PARENT_PID_VARIABLE, "1")
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
    accuracy = run_job(Path("outputs/train/s/0"), ["seed=1"], lambda: 0.5)
    assert math.isnan(accuracy) and "run 0 (seed=1) failed: " in capsys.readouterr().err
    failed, passed = (SimpleNamespace(return_value=value) for value in (accuracy, 0.5))
    assert [count_failed_runs(x) for x in ([[failed, passed], [failed]], None, [])] == [2, 0, 0]


@pytest.mark.slow
def test_parallel_runs_import_nothing_from_the_current_folder(forks: Forks, here: Path) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    for module in ("numpy", "torch", "hydra_plugins"):
        (here / f"{module}.py").write_text(f"open('canary_{module}', 'w')")
    code, log = forks.run(here, *SHORT, "threads=1", "seed=1,2", *PARALLEL)
    assert code == 0 and not list(here.glob("canary_*")), log


def test_a_mode_that_is_not_dash_m_is_refused(cnnlab: Cnnlab, here: Path) -> None:
    """It swallowed Ctrl-C, and ended at the first failure."""
    code, _, err = cnnlab("train", "hydra.mode=MULTIRUN", "seed=1,2")
    assert (code, err) == (2, "cnnlab: hydra.mode=MULTIRUN cannot be set\n-m makes a sweep\n")
    assert not list(here.iterdir())


@pytest.mark.slow
def test_a_stopped_sweep_says_how_to_resume(forks: Forks, here: Path) -> None:
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
        code == 0 and "resuming after step" in log and states(sweep_in(here)) == ["finished"] * 2
    ), log


@pytest.mark.slow
def test_parallel_runs_equal_sequential_ones(forks: Forks, here: Path) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    words = [*SHORT, "threads=1", "seed=1,2"]
    assert forks.run(here, *words)[0] == 0
    sequential = sweep_in(here)
    code, log = forks.run(here, *words, "outputs=parallel", *PARALLEL)
    assert code == 0 and "run 0 (" in log and "run 1 (" in log and "epoch 1/1" not in log, log
    (parallel,) = (here / "parallel" / "train").iterdir()
    for n in "01":
        assert all(
            torch.equal(weights(parallel / n)[k], v) for k, v in weights(sequential / n).items()
        )
        assert "epoch 1/1" in (parallel / n / "log.txt").read_text()
    environment = json.loads((parallel / "0" / "environment.json").read_text())
    assert "joblib.externals" not in " ".join(environment["command"])
    code, log = forks.run(here, *words, "optim.lr=0.01,-1", "outputs=parallel", *PARALLEL)
    assert (
        code == 2
        and log.count("failed: optim: lr must be above 0") == 2
        and "runs 1, 3 failed" in log
    )


@pytest.mark.parametrize(
    "after_s", [0.3, *(pytest.param(after_s, marks=pytest.mark.slow) for after_s in (1.2, 2.0))]
)
def test_a_parallel_sweep_stops_soon_at_any_moment(
    forks: Forks, here: Path, after_s: float
) -> None:
    """Before its processes exist, while they start, while they get ready."""
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    number = forks.start(
        here, "train", "-m", *TINY, "epochs=4000", "seed=1,2,3", "threads=1", *PARALLEL
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
def test_parallel_runs_end_together(forks: Forks, here: Path, kind: signal.Signals) -> None:
    """Ctrl-C reaches every process, SIGTERM and SIGKILL the first alone: no process is left."""
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    words = ["train", "-m", *TINY, "epochs=400", "seed=1,2,3", "threads=1", *PARALLEL]
    number, deadline = forks.start(here, *words), time.monotonic() + 60
    while len({path.parent for path in here.glob("outputs/train/*/*/checkpoints/step*")}) < 2:
        assert time.monotonic() < deadline, (here / "log.txt").read_text()
        time.sleep(0.005)
    (os.killpg if kind == signal.SIGINT else os.kill)(number, kind)
    code, log = forks.wait(number), (here / "log.txt").read_text()
    assert nobody_left(number) and "Traceback" not in log, log
    sweep = sweep_in(here)
    assert states(sweep)[:2] == ["interrupted"] * 2 and len(states(sweep)) <= 3
    if kind != signal.SIGKILL:
        assert code == 128 + kind and "cnnlab: the sweep was stopped; `cnnlab train -m" in log


@pytest.mark.slow
def test_a_stopped_parallel_sweep_resumes_to_the_same_weights(forks: Forks, here: Path) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    words = ["train", "-m", *TINY, "epochs=25", "seed=1,2,3", "threads=1", *PARALLEL]
    assert forks.run(here / "whole", *words)[0] == 0
    number = forks.start(here / "stopped", *words)
    while not list(here.glob("stopped/outputs/train/*/*/checkpoints/step*")):
        time.sleep(0.005)
    os.kill(number, signal.SIGTERM)
    assert forks.wait(number) == 143
    code, log = forks.run(here / "stopped", *words, "resume=last")
    assert code == 0, log
    whole, stopped = sweep_in(here / "whole"), sweep_in(here / "stopped")
    assert states(stopped) == ["finished"] * 3
    for n in "012":
        resumed = weights(stopped / n)
        assert all(torch.equal(resumed[name], value) for name, value in weights(whole / n).items())


@pytest.mark.parametrize(
    "after_s",
    [0.5, *(pytest.param(after_s, marks=pytest.mark.slow) for after_s in (0.2, 0.9, 1.4))],
)
@pytest.mark.slow
def test_an_interrupt_between_runs_stops_the_sweep(
    forks: Forks, here: Path, after_s: float
) -> None:
    """Not only the run that is being set up or evaluated at the moment."""
    words = ["train", "-m", *TINY, "epochs=1", f"seed={','.join(map(str, range(99)))}"]
    number = forks.start(here, *words)
    while not list(here.glob("outputs/train/*/0/config.yaml")):
        time.sleep(0.005)
    time.sleep(after_s)
    os.kill(number, signal.SIGINT)
    code, log = forks.wait(number), (here / "log.txt").read_text()
    assert code == 130 and log.splitlines()[-1].startswith("cnnlab: the sweep was stopped; "), log
