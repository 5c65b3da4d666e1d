import json
from pathlib import Path

import numpy as np
import pytest

from cnnlab.tasks.lr_find.command import smooth_losses, suggest_lr
from cnnlab.tasks.lr_find.settings import LRFindSettings
from tests.conftest import Cnnlab

TINY = ["model.filters=[4,4]", "model.hidden=[8]"]


def test_rates_rise_by_one_factor() -> None:
    r = LRFindSettings(min_lr=1e-4, max_lr=1.0, steps=41, smoothing=0.9)
    rates = [1e-4 * r.lr_multiplier(step) for step in range(41)]
    assert rates[0] == 1e-4 and rates[-1] == pytest.approx(1.0)
    assert np.allclose(np.diff(np.log(rates)), np.log(1e4) / 40)


def test_smoothing_is_a_weighted_mean_of_the_past() -> None:
    losses = [3.0, 1.0, 2.0, 5.0]
    for n in range(1, 5):
        weights = 0.8 ** np.arange(n)[::-1]
        assert smooth_losses(losses, 0.8)[n - 1] == pytest.approx(
            np.average(losses[:n], weights=weights)
        )
    assert smooth_losses(losses, 0.0) == losses and smooth_losses([2.0] * 9, 0.9) == pytest.approx(
        [2.0] * 9
    )


def test_the_suggestion_lies_where_the_loss_falls() -> None:
    """A loss that is flat, falls around a rate of 0.01, and blows up above 0.1; noise does not move it far."""
    rates = np.geomspace(1e-6, 1.0, 200)
    losses = 2.3 - 2 / (1 + (0.01 / rates) ** 2) + (rates / 0.1) ** 2
    for noise in (0, 0.05):
        found = suggest_lr(
            list(rates),
            smooth_losses(losses + noise * np.random.default_rng(0).normal(size=200), 0.9),
        )
        assert 2e-3 < found < 1e-2


def test_a_picture_and_a_suggestion(cnnlab: Cnnlab, here: Path) -> None:
    code, out, err = cnnlab("lr-find", *TINY, "steps=100")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 100
    (folder,) = (here / "outputs" / "lr-find").iterdir()
    found = json.loads((folder / "figures" / "lr_find.json").read_text())
    assert (
        f"suggested: optim.lr={found['suggestion']:.2g}" in out
        and (folder / "figures" / "lr_find.png").exists()
    )
    assert (
        20 < len(found["rates"]) == len(found["losses"]) <= 100
        and found["rates"][0] < found["suggestion"]
    )
    assert found["smoothed"] == smooth_losses(found["losses"], 0.9)
    assert not (here / "outputs" / "train").exists()


def test_a_range_that_ends_too_low_is_said_and_one_that_ends_by_the_loss_is_not(
    cnnlab: Cnnlab, here: Path
) -> None:
    said = "was still falling there: a higher `highest` would say more"
    assert said in cnnlab("lr-find", *TINY, "lowest=1e-5", "highest=1e-2", "steps=100")[1]
    assert said not in cnnlab("lr-find")[1]


def test_a_loss_that_is_out_of_bounds_ends_it(cnnlab: Cnnlab, here: Path) -> None:
    code, out, err = cnnlab(
        "lr-find", *TINY, "optim=sgd", "lowest=1e-3", "highest=1e12", "steps=60"
    )
    assert (code, err) == (0, "") and int(out.splitlines()[1].split()[0]) < 60
    code, _, err = cnnlab("lr-find", *TINY, "optim=sgd", "lowest=1e20", "highest=1e30")
    assert code == 1 and "the loss was out of bounds after" in err and len(err.splitlines()) == 1
    for words, message in (
        (["lowest=1", "highest=0.1"], "lowest must be above 0"),
        (["steps=1"], "steps must be"),
    ):
        code, _, err = cnnlab("lr-find", *words)
        assert code == 2 and message in err


def test_weights_that_are_named_are_begun_with(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    code, out, _ = cnnlab("lr-find", *TINY, f"init={tiny_run}", "steps=60")
    assert code == 0 and f"weights from {tiny_run}, step 50: 8 of 8 tensors" in out
    assert cnnlab("lr-find", *TINY, "init=nonsense")[0] == 2
