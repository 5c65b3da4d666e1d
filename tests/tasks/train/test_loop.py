"""The training loop through the command: stops, bad steps, early stopping, validations."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cnnlab.core import checkpoint
from cnnlab.core.run import read_metrics
from cnnlab.core.run_index import read_run_state
from cnnlab.data.augment import Pipeline
from cnnlab.engine.optim import FiniteGuard
from tests.conftest import TINY, Cnnlab
from tests.tasks.train.test_command import only_run


def test_non_finite_loss_is_reported_in_two_lines(cnnlab: Cnnlab, here: Path) -> None:
    code, _, err = cnnlab("train", *TINY, "optim=sgd", "optim.lr=1e30")
    folder = only_run(here)
    assert code == 1 and len(err.splitlines()) == 2 and "not finite at step" in err
    batch = json.loads((folder / "not_finite.json").read_text())
    assert len(batch["indices"]) == 50 and f"step {batch['step']}," in err
    assert read_run_state(folder) == "failed"


@pytest.mark.parametrize("step", [8, 25, 31])
def test_nan_batch_is_named_and_checkpoints_stay_finite(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Images are NaN at one step only; EMA weights and the log stay finite too."""
    mix, num_batches = Pipeline.mix, [0]

    def poisoned(self: Pipeline, x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
        x, labels = mix(self, x, *args)
        num_batches[0] += 1
        return (x * torch.nan if num_batches[0] == step + 1 else x), labels  # one is logged before

    monkeypatch.setattr(Pipeline, "mix", poisoned)
    code, _, err = cnnlab("train", *TINY, "log_every=7", "ema_decay=0.9", "save_every_minutes=1e-9")
    folder = only_run(here)
    assert (
        code == 1
        and f"the loss or its gradient is not finite at step {step}, on training images" in err
    )
    order = torch.randperm(
        1293, generator=torch.Generator().manual_seed(1 * 1_000_003 + (step - 1) // 25)
    )
    named = json.loads((folder / "not_finite.json").read_text())
    assert named == {"step": step, "indices": order.split(50)[(step - 1) % 25].tolist()}
    saved = checkpoint.list_checkpoint_steps(folder / "checkpoints")
    assert saved and max(saved) < step
    for which in ("last", "best"):
        groups, _ = checkpoint.load_checkpoint(
            checkpoint.find_checkpoint(folder / "checkpoints", which)
        )  # raises where one is not
        assert all(
            t.isfinite().all() for group in ("model", "average") for t in groups[group].values()
        )
    assert all(
        np.isfinite(v) for line in read_metrics(folder / "metrics.jsonl") for v in line.values()
    )
    assert err.rstrip().endswith("`, or clip_norm=1")


def test_early_stopping_evaluates_best_checkpoint(cnnlab: Cnnlab, here: Path) -> None:
    code, out, _ = cnnlab(
        "train", *TINY, "epochs=9", "early_stop_epochs=1", "result=best", "optim.lr=1e-9"
    )
    assert code == 0 and "stopped early: no better validation accuracy in 1 epoch\n" in out
    folder = only_run(here)
    assert (
        json.loads((folder / "result.json").read_text())["checkpoint"]
        == "step_000000025.safetensors"
    )
    assert checkpoint.list_checkpoint_steps(folder / "checkpoints") == [25, 50]


def test_early_stopping_survives_resume(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TINY, "epochs=9", "early_stop_epochs=3", "optim.lr=1e-9"]
    guard_step, steps = FiniteGuard.step, [0]

    def count_and_signal(*args: object) -> None:
        guard_step(*args)
        steps[0] += 1
        if steps[0] == 60:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(FiniteGuard, "step", count_and_signal)
    assert cnnlab("train", *words)[0] == 130
    code, out, _ = cnnlab("train", "resume=last")
    assert code == 0 and "stopped early" in out and "step 100 after" in out


def test_validate_every_and_after_last_step(here: Path, cnnlab: Cnnlab) -> None:
    code, _, err = cnnlab("train", *TINY, "epochs=3", "validate_every=20")
    assert code == 0, err
    run = only_run(here)
    steps = [
        row["step"] for row in read_metrics(run / "metrics.jsonl") if "validation/accuracy" in row
    ]
    assert steps == [20, 40, 60, 75]


def test_early_stopping_with_rare_validations(here: Path, cnnlab: Cnnlab) -> None:
    words = [
        "epochs=20",
        "early_stop_epochs=2",
        "validate_every=40",
        "log_every=10",
        "optim.lr=1e-9",
    ]
    code, out, err = cnnlab("train", *TINY, *words)
    assert code == 0 and "stopped early" in out, err
    steps = [
        row["step"]
        for row in read_metrics(only_run(here) / "metrics.jsonl")
        if "validation/accuracy" in row
    ]
    assert steps == [40, 80]


def test_stop_at_validated_step_keeps_score(
    here: Path, cnnlab: Cnnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard_step, steps = FiniteGuard.step, [0]

    def count_and_signal(*args: object) -> None:
        guard_step(*args)
        steps[0] += 1
        if steps[0] == 30:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(FiniteGuard, "step", count_and_signal)
    assert cnnlab("train", *TINY, "validate_every=30", "log_every=10")[0] == 143
    path = checkpoint.find_checkpoint(only_run(here) / "checkpoints", "last")
    record = checkpoint.read_record(path)
    assert record["step"] == 30 and record["validation"] is not None
    code, _, err = cnnlab("train", "resume=last", "log_every=7")
    assert code == 2 and err == "cnnlab: validate_every must be a multiple of log_every=7\n"
