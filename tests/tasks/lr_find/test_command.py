import json
from pathlib import Path

import pytest

from cnnlab.tasks.lr_find.range_test import smooth_losses
from tests.conftest import Cnnlab

TINY = ["model.filters=[4,4]", "model.hidden=[8]"]


def test_writes_a_figure_and_a_suggestion(cnnlab: Cnnlab, here: Path) -> None:
    code, out, err = cnnlab("lr-find", *TINY, "steps=100")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    (folder,) = (here / "outputs" / "lr-find").iterdir()
    data = json.loads((folder / "figures" / "lr_find.json").read_text())
    assert f"suggested: optim.lr={data['suggested_lr']:.2g}" in out
    assert (folder / "figures" / "lr_find.png").exists()
    assert 20 < len(data["learning_rates"]) == len(data["losses"]) <= 100
    assert data["learning_rates"][0] < data["suggested_lr"]
    assert data["smoothed_losses"] == smooth_losses(data["losses"], 0.9)
    assert not (here / "outputs" / "train").exists()


def test_range_that_ends_too_low_is_reported(cnnlab: Cnnlab, here: Path) -> None:
    """And a range in which the loss diverges is not."""
    message = "the loss was still falling at the last step: increase max_lr"
    assert message in cnnlab("lr-find", *TINY, "min_lr=1e-5", "max_lr=1e-2", "steps=100")[1]
    assert message not in cnnlab("lr-find")[1]


def test_diverging_loss_ends_the_test(cnnlab: Cnnlab, here: Path) -> None:
    words = [*TINY, "optim=sgd", "min_lr=1e-3", "max_lr=1e12", "steps=60"]
    code, out, err = cnnlab("lr-find", *words)
    assert (code, err) == (0, "") and int(out.splitlines()[1].split()[0]) < 60
    code, _, err = cnnlab("lr-find", *TINY, "optim=sgd", "min_lr=1e20", "max_lr=1e30")
    assert code == 1 and "the loss diverged after" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["min_lr=1", "max_lr=0.1"], "not 1 and 0.1"),
        (["steps=1"], "steps must be"),
        (["optim.lr=1"], "lr-find varies optim.lr itself, from min_lr to max_lr"),
        (["resume=last"], "lr-find starts a new training: resume does not apply"),
    ],
)
def test_usage_errors(cnnlab: Cnnlab, here: Path, words: list[str], message: str) -> None:
    code, _, err = cnnlab("lr-find", *words)
    assert code == 2 and message in err and len(err.splitlines()) == 1


def test_a_style_network_is_refused_with_the_command_that_trains_it(cnnlab: Cnnlab) -> None:
    assert cnnlab("lr-find", "model=style_network") == (
        2,
        "",
        "cnnlab: lr-find takes a classifier, not model=style_network\n"
        "train it as it is: cnnlab train model=style_network style=STYLE.jpg\n",
    )


def test_starts_from_initial_weights(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    code, out, _ = cnnlab("lr-find", *TINY, f"init={tiny_run}", "steps=60")
    assert code == 0 and f"weights from {tiny_run}, step 50:\n  8 of 8 tensors" in out
    assert cnnlab("lr-find", *TINY, "init=nonsense")[0] == 2
