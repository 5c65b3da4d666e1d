import json
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnlab.core import checkpoint
from cnnlab.core.files import write_json
from cnnlab.core.lock import FolderLock
from cnnlab.core.predictions import read_predictions
from cnnlab.core.run import read_metrics
from cnnlab.core.run_index import read_run_state
from cnnlab.engine.metrics import compute_summary_metrics
from cnnlab.engine.optim import FiniteGuard
from tests.conftest import TINY, Cnnlab


def only_run(here: Path) -> Path:
    (folder,) = (here / "outputs" / "train").iterdir()
    return folder


def test_run_writes_its_files(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir() if not path.name.startswith("events")}
    assert names == {
        "checkpoints",
        "config.yaml",
        "environment.json",
        "filters",
        "metrics.jsonl",
        "overrides.yaml",
        "result.json",
        "state.json",
        "test.safetensors",
    }
    assert read_run_state(tiny_run) == "finished"
    assert yaml.safe_load((tiny_run / "overrides.yaml").read_text()) == TINY
    assert yaml.safe_load((tiny_run / "config.yaml").read_text())["model"]["filters"] == [4, 4]
    assert checkpoint.list_checkpoint_steps(tiny_run / "checkpoints") == [25, 50]
    shapes = [
        np.load(path, allow_pickle=False).shape for path in sorted((tiny_run / "filters").iterdir())
    ]
    assert shapes == [(4, 1, 3, 3)] * 3


def test_tensorboard_tags(tiny_run: Path) -> None:
    events = EventAccumulator(str(tiny_run))
    events.Reload()
    tags = events.Tags()
    assert {
        "train/loss",
        "train/accuracy",
        "train/learning_rate",
        "train/gradient_norm",
        "train/images_per_s",
        "validation/loss",
        "validation/accuracy",
        "validation/error",
        "test/accuracy",
    } <= set(tags["scalars"])
    assert {"images/as_the_network_sees_them", "filters/first_layer"} <= set(tags["images"])
    assert "weights/conv_1.conv.weight" in tags["histograms"]
    assert [event.step for event in events.Scalars("validation/error")] == [25, 50]
    names = set()
    for path in tiny_run.glob("events*"):
        file_events = EventAccumulator(str(path))
        file_events.Reload()
        with suppress(KeyError):
            names |= set(file_events.PluginTagToContent("hparams"))
    assert any("session_start_info" in name for name in names)


def test_metrics_match_result(tiny_run: Path) -> None:
    lines, result = (
        read_metrics(tiny_run / "metrics.jsonl"),
        json.loads((tiny_run / "result.json").read_text()),
    )
    last = [line for line in lines if "validation/accuracy" in line][-1]
    assert last["validation/accuracy"] == result["validation"]["accuracy"]
    assert lines[-1]["test/accuracy"] == result["test"]["accuracy"]
    seconds = [line["elapsed_s"] for line in lines]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_output_names_folder_and_next_commands(cnnlab: Cnnlab, here: Path) -> None:
    code, out, err = cnnlab("train", *TINY)
    folder = only_run(here).relative_to(here)
    assert code == 0 and err == ""
    assert out.startswith("cnnlab train: digits_cnn on digits, device ")
    assert f"cnnlab eval {folder}" in out and f"tensorboard --logdir {folder}" in out
    assert "epoch 2/2" in out and "\r" not in out
    assert all(len(line) <= 100 for line in out.splitlines())


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGINT, 25), (signal.SIGTERM, 31), (signal.SIGINT, 1)]
)
def test_stopped_run_resumes_to_the_same_weights(
    cnnlab: Cnnlab,
    here: Path,
    tiny_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    step: int,
) -> None:
    """A signal within an epoch or at its end: the step is finished and saved."""
    steps, guard_step = [0], FiniteGuard.step

    def count_and_signal(*args: object) -> None:
        guard_step(*args)
        steps[0] += 1
        if steps[0] == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(FiniteGuard, "step", count_and_signal)
    code, _, err = cnnlab("train", *TINY)
    folder = only_run(here)
    assert code == 128 + number and read_run_state(folder) == "interrupted"
    assert (
        err == f"cnnlab: stopped after step {step};\n"
        f"resume with `cnnlab train resume={folder.relative_to(here)}`\n"
    )
    code, out, err = cnnlab("train", "resume=last")
    assert (code, err) == (0, "") and f"resuming after step {step}" in out
    resumed, uninterrupted = (
        checkpoint.load_checkpoint(checkpoint.find_checkpoint(run / "checkpoints", "last"))[0]
        for run in (folder, tiny_run)
    )
    for group in ("model", "optimizer"):
        assert all(
            (resumed[group][k] == uninterrupted[group][k]).all() for k in uninterrupted[group]
        )
    rows, expected = (
        {
            line["step"]: line
            for line in read_metrics(run / "metrics.jsonl")
            if "validation/loss" in line
        }
        for run in (folder, tiny_run)
    )
    assert [rows[k]["validation/loss"] for k in rows] == [
        expected[k]["validation/loss"] for k in expected
    ]


def test_fixed_keys_are_refused_on_resume(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    code, _, err = cnnlab("train", f"resume={tiny_run}", "optim.lr=1")
    assert code == 2 and err.startswith(
        "cnnlab: optim.lr cannot change when a run resumes; these keys can: epochs"
    )
    code, _, err = cnnlab("train", "resume=last")
    assert code == 2 and "no run with a checkpoint below outputs/train" in err
    assert not list(here.iterdir())


def test_running_run_is_not_resumed(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    run = Path(shutil.copytree(tiny_run, here / "run"))
    write_json(run / "state.json", {"state": "running"})
    with FolderLock(run):
        code, _, err = cnnlab("train", "resume=run")
    assert code == 2 and err == "cnnlab: run is being trained by another process\n"


def test_sweep_writes_a_numbered_run_per_value(cnnlab: Cnnlab, here: Path) -> None:
    code, _, err = cnnlab("train", "-m", *TINY, "epochs=1", "seed=1,2")
    assert (code, err) == (0, "")
    sweep = only_run(here)
    configs = [yaml.safe_load((sweep / str(n) / "config.yaml").read_text()) for n in (0, 1)]
    assert [config["seed"] for config in configs] == [1, 2]
    code, out, _ = cnnlab("runs")
    assert code == 0 and f"{sweep.name}/1" in out


def test_invalid_sweep_writes_nothing(cnnlab: Cnnlab, here: Path) -> None:
    code, _, err = cnnlab("train", "-m", "epochs=0", "seed=1,2")
    assert code == 2 and "epochs must be at least 1" in err
    assert not [path for path in here.rglob("*") if path.is_file() or path.name.endswith("_sweep")]


def test_test_predictions_are_saved(here: Path, cnnlab: Cnnlab) -> None:
    assert cnnlab("train", *TINY)[0] == 0
    run = only_run(here)
    logits, labels = read_predictions(run / "test.safetensors")
    scores = json.loads((run / "result.json").read_text())["test"]
    assert scores == pytest.approx(compute_summary_metrics(logits, labels)) and len(labels) == 360


def test_preview_with_resume_is_refused(here: Path, cnnlab: Cnnlab) -> None:
    code, _, err = cnnlab("train", "resume=last", "augment.preview=true")
    assert code == 2 and "cannot be used together" in err and err.count("\n") == 1


def test_batch_norm_needs_two_images(here: Path, cnnlab: Cnnlab) -> None:
    code, _, err = cnnlab("train", "batch_size=1", "model.batch_norm={decay: 0.9, eps: 0.001}")
    assert code == 2 and "batch_size must be at least 2" in err and not (here / "outputs").exists()


def test_test_set_is_left_for_later(here: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("train", *TINY, "test=false")
    (run,) = (here / "outputs" / "train").iterdir()
    result = json.loads((run / "result.json").read_text())
    assert (code, err) == (0, "") and "95% confidence interval of the validation accuracy" in out
    assert "test" not in result and not (run / "test.safetensors").exists()
    assert f"v{result['validation']['accuracy']:.2%}" in cnnlab("runs")[1]
    assert "finished" in cnnlab("train", "resume=last")[1]
    code, out, err = cnnlab("train", "resume=last", "test=true")
    assert (code, err) == (0, "") and "test accuracy" in out
    later = json.loads((run / "result.json").read_text())
    assert later["validation"] == result["validation"] and later["test"]["accuracy"] > 0
