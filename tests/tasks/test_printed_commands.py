"""What a command suggests is done as it is printed, in the state in which it is printed."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import Cnnlab


def find_printed(text: str, pattern: str) -> list[str]:
    """Return the words of the first command in a text that matches, without its first word."""
    match = re.search(pattern, text, re.MULTILINE)
    assert match, text
    return shlex.split(match[0])[1:]


@pytest.mark.parametrize("model", ["mnist_mlp", "fixed_filters"])
def test_suggested_layer_is_one_of_this_network(cnnlab: Cnnlab, here: Path, model: str) -> None:
    hidden = ["model.hidden=[6]"] if model == "mnist_mlp" else []
    words = [f"model={model}", "dataset=digits", *hidden, "epochs=1", "threads=1"]
    assert cnnlab("train", *words)[0] == 0
    code, _, err = cnnlab("visualize", "top_activations")
    assert code == 2 and "no layer of this network has maps" in err
    override = re.search(r"top_activations\.layer=\S+", err)
    assert override
    for key in (override[0], override[0].removeprefix("top_activations.")):
        code, out, err = cnnlab("visualize", "top_activations", key)
        assert (code, err) == (0, "") and "Top-activating images of" in out


def test_resuming_as_compare_says_gives_the_paired_test(cnnlab: Cnnlab, run: Path) -> None:
    odd = Path(shutil.copytree(run, run.parent / "2026-01-01_00-00-00_it's odd"))
    (odd / "test.safetensors").unlink()
    code, out, _ = cnnlab("compare", str(run), str(odd), "consecutive=1")
    assert code == 0 and "no paired test" not in out, "the same settings: one group"
    assert cnnlab("train", "epochs=1", "model.filters=[4,4]", "model.hidden=[8]", "seed=2")[0] == 0
    (other,) = set(run.parent.iterdir()) - {run, odd}
    code, out, _ = cnnlab("compare", str(other), str(odd))
    assert code == 0 and "no paired test" in out
    command = find_printed(out, r"cnnlab train .*resume=.*$")
    assert cnnlab(*command)[0] == 0
    code, out, _ = cnnlab("compare", str(other), str(odd))
    assert code == 0 and "paired test on the same 360 test images" in out


def test_tensorboard_is_told_the_folder_of_the_projector(
    cnnlab: Cnnlab, run: Path, here: Path
) -> None:
    odd = Path(shutil.copytree(run, here / "it's odd"))
    code, out, _ = cnnlab("embed", str(odd), "--pca", "grid=4")
    assert code == 0
    logdir, folder = find_printed(out, r"tensorboard --logdir .*$")
    assert logdir == "--logdir" and (Path(folder) / "projector_config.pbtxt").is_file()
    assert list(Path(folder).glob("events.out.tfevents.*"))


@pytest.mark.parametrize("verb", ["eval", "visualize", "embed", "compare", "describe"])
def test_runs_are_listed_where_a_missing_run_says_so(cnnlab: Cnnlab, run: Path, verb: str) -> None:
    code, _, err = cnnlab(verb, "nowhere")
    assert code == 2 and "`cnnlab runs`" in err
    code, out, _ = cnnlab("runs")
    assert code == 0 and run.name[:19] in out


def test_a_layer_is_chosen_where_features_are_the_same(cnnlab: Cnnlab, run: Path) -> None:
    """`embed` and `visualize` list the layers; each of them can be chosen."""
    code, _, err = cnnlab("embed", "layer=nothing", "--pca")
    assert code == 2
    names = re.search(r"is not one of ([^;\n]*)", err)
    assert names
    for layer in names[1].split(", "):
        code, _, err = cnnlab("embed", f"layer={layer}", "--pca", "grid=4", "n=40")
        assert code == 0, (layer, err)
