"""What ends an optimization, and what is saved then."""

import json
import os
import signal
from typing import Any

import numpy as np
import pytest
import torch

from cnnlab.style.tiled_loss import TransferLoss
from cnnlab.style.time_budget import TransferBudget
from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.tasks.conftest import Stylize, pixels


def test_time_limit_is_kept(stylize: Stylize) -> None:
    """More time gives more steps, at the last scale."""
    few, many = (
        json.loads(stylize(f"time={t}", "first_steps=3", "--json")[0]) for t in ("0.7s", "3.5")
    )
    assert sum(few["steps"]) < sum(many["steps"]) and many["seconds"] < 3.5 + 4


def test_error_between_scales_saves_the_image(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_objective = TransferLoss.make_objective

    def fail(self: Any, size: Any) -> Any:
        if size == (36, 48):
            raise RuntimeError("not enough memory: you tried to allocate")
        return make_objective(self, size)

    monkeypatch.setattr(TransferLoss, "make_objective", fail)
    _, err = stylize(code=1)
    assert (
        "not enough memory" in err
        and "the image so far is saved as photo_one.png, optimized at 34x25 and enlarged" in err
    )
    assert pixels("photo_one.png").shape == (36, 48, 3) and read_transfer_record("photo_one.png")[
        "steps"
    ] == [4]


def test_out_of_memory_at_full_size_saves_the_image(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_tile_sums, calls = TransferLoss.compute_tile_sums, 0

    def patched(self: Any, objective: Any, x: torch.Tensor, *where: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise RuntimeError("out of memory")
        return compute_tile_sums(self, objective, x, *where)

    monkeypatch.setattr(TransferLoss, "compute_tile_sums", patched)
    _, err = stylize("coarsest=99", "first_steps=30", code=1)
    assert "out of memory" in err and err.endswith("the image so far is saved as photo_one.png\n")
    record = read_transfer_record("photo_one.png")
    assert (
        not record["complete"] and 0 < record["losses"]["style"] < 1 and len(record["steps"]) == 1
    )


@pytest.mark.parametrize("when", [2, 6])
def test_interrupt_saves_the_image(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    should_stop, calls = TransferBudget.should_stop, 0

    def interrupt(self: TransferBudget, scale: int, step: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == when:
            os.kill(os.getpid(), signal.SIGINT)
        return should_stop(self, scale, step)

    monkeypatch.setattr(TransferBudget, "should_stop", interrupt)
    _, err = stylize(code=130)
    assert err.startswith(
        f"cnnlab: stopped at step {when}; the image so far is saved as photo_one.png"
    )
    assert ("optimized at 34x25 and enlarged" in err) == (when == 2)
    assert (
        pixels("photo_one.png").shape == (36, 48, 3)
        and sum(read_transfer_record("photo_one.png")["steps"]) == when
    )
    monkeypatch.setattr(TransferBudget, "should_stop", should_stop)
    stylize("--reproduce", "photo_one.png", "out=again.png")
    assert np.array_equal(pixels("again.png"), pixels("photo_one.png"))


def test_nonfinite_loss_is_reported_and_recovered(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_tile_sums, calls = TransferLoss.compute_tile_sums, 0

    def patched(self: Any, objective: Any, x: torch.Tensor, *where: Any) -> Any:
        nonlocal calls
        calls += x.requires_grad
        return compute_tile_sums(
            self, objective, x * float("nan") if calls == 3 and x.requires_grad else x, *where
        )

    monkeypatch.setattr(TransferLoss, "compute_tile_sums", patched)
    out, _ = stylize()
    assert "step 2: the loss was not finite; returned to the last image, with a smaller step" in out
    assert np.isfinite(read_transfer_record("photo_one.png")["losses"]["loss"])
