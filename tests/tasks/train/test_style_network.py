from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.core import checkpoint
from cnnlab.core.files import read_json
from cnnlab.core.run import read_metrics
from tests.conftest import Cnnlab
from tests.tasks.conftest import STYLE_NETWORK, make_style_photos


@pytest.fixture
def photos(here: Path) -> Path:
    return make_style_photos(here)


def train(cnnlab: Cnnlab, *words: str) -> tuple[Path, str]:
    """The run's folder, and what was printed."""
    code, out, err = cnnlab("train", *words)
    assert (code, err) == (0, "")
    return max(Path("outputs/train").iterdir()), out


def weights(run: Path) -> dict[str, torch.Tensor]:
    path = checkpoint.find_checkpoint(run / "checkpoints", "last")
    groups, _ = checkpoint.load_checkpoint(path)
    return {f"{group}/{k}": v for group in groups for k, v in groups[group].items()}


def test_a_resumed_run_equals_an_uninterrupted_one(cnnlab: Cnnlab, photos: Path) -> None:
    """Weights, their average, the optimizer and the log."""
    whole, _ = train(cnnlab, *STYLE_NETWORK, "epochs=2", "name=whole")
    train(cnnlab, *STYLE_NETWORK, "epochs=1", "name=resumed")
    resumed = next(Path("outputs/train").glob("*_resumed"))
    train(cnnlab, f"resume={resumed}", "epochs=2")
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys() and any(k.startswith("average/") for k in first)
    assert all(torch.equal(first[k], second[k]) for k in first)
    rows = [
        [
            (row["step"], row.get("train/style"), row.get("validation/loss"))
            for row in read_metrics(run / "metrics.jsonl")
        ]
        for run in (whole, resumed)
    ]
    assert rows[0] == rows[1] and len(rows[0]) > 3


def test_a_run_with_another_style_image_is_not_resumed(cnnlab: Cnnlab, photos: Path) -> None:
    train(cnnlab, *STYLE_NETWORK, "epochs=1")
    Image.open("photos/0.png").save("one.png")
    code, _, err = cnnlab("train", "resume=last", "epochs=2")
    assert code == 1 and err.startswith("cnnlab: the style image, or the weights of model.features")


def test_a_run_is_printed_logged_and_listed(cnnlab: Cnnlab, photos: Path) -> None:
    run, out = train(cnnlab, *STYLE_NETWORK, "epochs=1")
    assert "cnnlab train: style_network on folder, device cpu" in out
    assert "\n2 validation images:\nloss " in out
    assert out.splitlines()[-2] == f"stylize:      cnnlab stylize PHOTO.jpg {run}"
    assert max(map(len, out.splitlines())) <= 80 + len(str(run))
    result = read_json(run / "result.json")
    assert set(result["validation"]) == {"loss", "content", "style"}
    assert not (run / "test.safetensors").exists()
    rows = read_metrics(run / "metrics.jsonl")
    assert {"train/loss", "train/content", "train/style"} <= rows[0].keys()
    _, listed, _ = cnnlab("runs")
    assert " style_netw folder  finished" in listed
    code, described, _ = cnnlab("describe", str(run))
    assert code == 0 and "code_1.conv" in described


@pytest.mark.parametrize(
    "words",
    [["eval"], ["predict", "photos/0.png"], ["embed"], ["visualize", "filters"], ["compare"]],
)
def test_commands_for_classifiers_refuse_it(
    cnnlab: Cnnlab, here: Path, style_run: Path, words: list[str]
) -> None:
    Image.new("RGB", (32, 32)).save(here / "0.png")
    words = [word.replace("photos/", "") for word in words]
    named = [f"run={style_run}"] if words[0] == "predict" else [str(style_run)]
    code, _, err = cnnlab(*words, *named)
    assert code == 2 and err.startswith(f"cnnlab: {style_run} is a style network")
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["style=null"], "model=style_network needs a style image\nname it: style=FILE"),
        (["style=none.png"], "no file "),
        (["early_stop_epochs=2"], "early_stop_epochs=2 is of classifiers"),
        (["result=best"], "result=best is of classifiers"),
        (["augment=none"], "augment.normalize: a style network takes colors in 0..1"),
        (["dataset.depth=1"], "model: it takes color images"),
        (["model.loss.strength=2"], "model.loss: strength must be between 0 and 1"),
        (["model.features.name=x"], "model.features.name must be one of"),
    ],
)
def test_impossible_settings_are_refused(
    cnnlab: Cnnlab, photos: Path, words: list[str], message: str
) -> None:
    code, _, err = cnnlab("train", *STYLE_NETWORK, *words)
    assert code and err.startswith(f"cnnlab: {message}") and not Path("outputs").exists()


def test_a_style_image_is_of_style_networks_only(cnnlab: Cnnlab, here: Path) -> None:
    code, _, err = cnnlab("train", "style=a.png")
    assert code == 2 and err == (
        "cnnlab: style=a.png is of style networks only\n"
        "to train one: cnnlab train model=style_network style=a.png\n"
    )


def test_a_classifier_needs_two_classes(cnnlab: Cnnlab, photos: Path) -> None:
    code, _, err = cnnlab(
        "train", "dataset=folder", "dataset.root=photos", "dataset.layout=flat", "augment=none"
    )
    assert code == 2 and err == (
        "cnnlab: a classifier needs two classes: dataset.layout=flat has one\n"
    )


def test_new_weights_start_from_another_run(cnnlab: Cnnlab, photos: Path, style_run: Path) -> None:
    _, out = train(cnnlab, *STYLE_NETWORK, "epochs=1", f"init={style_run}")
    assert "step 2:\n  " in out and " tensors" in out


def test_the_sample_photographs_are_squares() -> None:
    from cnnlab.data.sources import sample_photos

    squares = sample_photos("train", root=None, size=256)
    assert squares.shape == (3, 256, 256) and squares.classes == ("china", "flower")
    assert squares.labels.bincount().tolist() == [78, 78]
    assert np.ptp(squares.images[0].numpy()) > 200
    with pytest.raises(ValueError, match="size must be between 1 and 427, not 428"):
        sample_photos("train", root=None, size=428)
