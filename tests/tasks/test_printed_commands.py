"""What a command suggests is done as it is printed, in the state in which it is printed."""

import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from cnnlab.cli import help_text
from cnnlab.config import compose
from cnnlab.core import checkpoint
from cnnlab.core.schema import call_checked
from cnnlab.tasks.visualize.report import format_eval_command
from cnnlab.tasks.visualize.settings import VisualizeSettings
from tests.conftest import TINY, Cnnlab
from tests.tasks.conftest import Stylize


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


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [slice(None)])
def test_a_layer_is_chosen_where_features_are_the_same(
    cnnlab: Cnnlab, run: Path, chosen: slice
) -> None:
    """`embed` and `visualize` list the layers; each of them can be chosen."""
    code, _, err = cnnlab("embed", "layer=nothing", "--pca")
    assert code == 2
    names = re.search(r"is not one of ([^;\n]*)", err)
    assert names
    for layer in names[1].split(", ")[chosen]:
        code, _, err = cnnlab("embed", f"layer={layer}", "--pca", "grid=4", "n=40")
        assert code == 0, (layer, err)


@pytest.mark.parametrize(
    ("words", "outputs"),
    [
        (["eval", "last"], "it's a 'b' é"),
        pytest.param(["eval", "best"], "other", marks=pytest.mark.slow),
        pytest.param(["runs"], "it's", marks=pytest.mark.slow),
        (["runs"], "-x"),
    ],
)
def test_a_missing_run_is_made_below_the_same_outputs(
    cnnlab: Cnnlab, here: Path, words: list[str], outputs: str
) -> None:
    """The command that makes one left `outputs` out."""
    key = "--outputs=" if words == ["runs"] else "outputs="
    _, out, err = cnnlab(*words, f"{key}{outputs}")
    command = find_printed(out + err, r"cnnlab train .*(?=` makes one)")
    assert cnnlab(*command, *TINY, "epochs=1")[0] == 0
    code, out, err = cnnlab(*words, f"{key}{outputs}")
    assert (code, err) == (0, "") and "makes one" not in out


@pytest.mark.parametrize("words", [["eval", "no"], ["compare", "no*"], ["compare"]], ids=" ".join)
def test_runs_are_listed_below_the_same_outputs(
    cnnlab: Cnnlab, run: Path, here: Path, words: list[str]
) -> None:
    (here / "outputs").rename(here / "it's")
    code, _, err = cnnlab(*words, "outputs=it's")
    assert code == 2
    code, out, _ = cnnlab(*find_printed(err, r"cnnlab runs [^`]*"))
    assert code == 0 and run.name[:19] in out


@pytest.mark.parametrize("outputs", ["-x", "it's a"])
def test_commands_after_training_take_a_folder_of_any_name(
    cnnlab: Cnnlab, here: Path, outputs: str
) -> None:
    code, out, _ = cnnlab("train", *TINY, "epochs=1", f"outputs={outputs}")
    assert code == 0
    assert cnnlab(*find_printed(out, r"cnnlab eval .*$"))[0] == 0
    _, folder = find_printed(out, r"tensorboard --logdir .*$")
    assert not folder.startswith("-") and list(Path(folder).glob("events.out.tfevents.*"))


@pytest.mark.parametrize("outputs", ["-x", "it's a"])
def test_tensorboard_is_told_the_log_of_a_stylized_image(
    stylize: Stylize, here: Path, outputs: str
) -> None:
    """The folder's name was not quoted."""
    out, _ = stylize(f"outputs={outputs}")
    _, folder = find_printed(out, r"tensorboard --logdir .*$")
    assert not folder.startswith("-") and list(Path(folder).glob("events.out.tfevents.*"))


def test_a_damaged_second_run_is_not_selected_by_the_first_ones_key(
    cnnlab: Cnnlab, run: Path, here: Path
) -> None:
    second = Path(shutil.copytree(run, here / "second"))
    checkpoint.find_checkpoint(second / "checkpoints", "last").write_bytes(b"cut")
    for words in (
        ["embed", str(run), "second", "--pca"],
        ["visualize", "invariance", "against=second"],
    ):
        code, _, err = cnnlab(*words)
        assert code == 1 and "checkpoint=" not in err and "second" in err


@pytest.mark.parametrize("words", [[], ["split=validation", "checkpoint=25"]], ids=str)
def test_the_report_names_the_command_that_evaluates_all_views(
    cnnlab: Cnnlab, run: Path, words: list[str]
) -> None:
    context = SimpleNamespace(
        settings=call_checked(VisualizeSettings, compose("visualize", words), ""),
        trained=SimpleNamespace(folder=run),
    )
    command = shlex.split(format_eval_command(context))[1:]
    code, _, _ = cnnlab(*command)
    assert code == 0 and command[1:] == [str(run), *words]


@pytest.mark.parametrize("model", ["alexnet", "cifar_bn", "fixed_filters", "mnist_cnn", "vgg16"])
def test_layers_are_explained_by_the_key_that_describe_names(cnnlab: Cnnlab, model: str) -> None:
    code, out, _ = cnnlab("describe", f"model={model}")
    assert code == 0
    for key in dict.fromkeys(re.findall(r"`(layer=\S+)` shows how", out)):
        code, out, err = cnnlab("describe", f"model={model}", key)
        assert (code, err) == (0, "") and out


def test_commands_in_errors_of_describe_work(cnnlab: Cnnlab, run: Path) -> None:
    command = find_printed(cnnlab("describe", "resume=last")[2], r"cnnlab describe RUN")
    assert cnnlab(*command[:-1], str(run))[0] == 0
    command = find_printed(cnnlab("describe", "w=5")[2], r"cnnlab describe conv w=5")
    assert cnnlab(*command, "h=5", "d=3", "e=3", "s=2", "p=1", "k=2")[0] == 0
    (key,) = find_printed(cnnlab("describe", "mnist_cnn")[2], r"type|say model=mnist_cnn")
    assert cnnlab("describe", key)[0] == 0


def list_help_examples() -> list[str]:
    """Return the examples of the help texts, without their descriptions."""
    texts = [text for name, text in vars(help_text).items() if name.endswith("_HELP")]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("  cnnlab ")]
    return [re.split(r" {2,}", line.strip())[0] for line in lines]


@pytest.mark.parametrize("command", list_help_examples())
def test_examples_of_the_help_are_accepted(
    cnnlab: Cnnlab, run: Path, here: Path, command: str
) -> None:
    """Up to what they do: its configuration is printed instead."""
    for name in {*re.findall(r"\b[\w/]+\.(?:jpg|png)\b", command), "photos/0.jpg"}:
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).touch()
    words = shlex.split(command)[1:]
    if "-m" in words:  # one run of the sweep
        words = [word.partition(",")[0] for word in words if word not in ("-m", "--compare")]
    code, out, err = cnnlab(*words, "--cfg", "job")
    assert (code, err) == (0, "") and out
