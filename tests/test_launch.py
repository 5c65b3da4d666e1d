"""Launching a task: errors are one line, and nothing runs that should not."""

import shlex
import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException

from cnnlab.launch import format_hydra_error, format_unknown_key
from tests.conftest import TINY, Cnnlab

MODELS = (
    "alexnet, cifar_bn, cifar_cnn, cifar_fast, digits_cnn, fixed_filters, mnist_cnn, "
    "mnist_fast, mnist_mlp, style_network, vgg16, vgg19"
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["optim.lrr=1"],
            "unknown key optim.lrr; did you mean optim.lr? `cnnlab train --cfg job` shows all keys",
        ),
        (
            ["lr=0.1"],
            "unknown key lr; did you mean optim.lr? `cnnlab train --cfg job` shows all keys",
        ),
        (
            ["optim.learning_rate=0.1"],
            "unknown key optim.learning_rate; did you mean optim.lr? "
            "`cnnlab train --cfg job` shows all keys",
        ),
        (
            ["optim.momentum=0.9"],
            "unknown key optim.momentum: this optim has none\n"
            "options that have it: optim=muon, optim=sgd",
        ),
        (
            ["modle=mnist_cnn"],
            "unknown key modle; did you mean model? `cnnlab train --cfg job` shows all keys",
        ),
        (
            ["model=mnist_cn"],
            "model 'mnist_cn' is not one of alexnet, cifar_bn, cifar_cnn, cifar_fast, "
            "digits_cnn, fixed_filters, mnist_cnn, mnist_fast, mnist_mlp, style_network, "
            "vgg16, vgg19; "
            "did you mean mnist_cnn?",
        ),
        (
            ["experiment=x"],
            "experiment 'x' is not one of cifar10_bn_best, features_quarter, mnist_cnn_best, "
            "mnist_cnn_chapter, mnist_mlp",
        ),
        (
            ["mnist_cnn"],
            "'mnist_cnn' is not KEY=VALUE; for a network type model=mnist_cnn; "
            "see `cnnlab train -h`",
        ),
        (["optim.lr=fast"], "optim.lr must be a number, not 'fast'"),
        (["~optim.lr"], "optim.lr is missing; it must be a number"),
        (["+optim.foo=1"], "unknown key optim.foo; optim takes lr, betas, eps, weight_decay"),
        (
            ["+model._target_=os.system"],
            "unknown key model._target_; model takes filters, extent, pool, hidden, dropout, "
            "batch_norm, output",
        ),
        (["device=gpu"], "device 'gpu' is not one of auto, cpu, cuda, cuda:N, mps"),
        (["--cfg", "bogus"], "--cfg takes job, hydra or all, and no -m beside it, not 'bogus'"),
        (["clip_norm=inf"], "clip_norm must be above 0, not inf"),
        (["model.hidden=[0]"], "model: hidden must be at least 1, not 0"),
        (["early_stop_epochs=0"], "early_stop_epochs must be at least 1, not 0"),
        (["augment.train=null"], "augment.train must be a mapping, not None"),
        (["device=cpu:7"], "device 'cpu:7' is not one of auto, cpu, cuda, cuda:N, mps"),
        (["dataset.root=[1]"], "dataset.root must be a string or null, not [1]"),
        (
            ["model=mnist_cnn", "experiment=cifar10_bn_best"],
            "experiment=cifar10_bn_best is a recipe for model=cifar_bn, not mnist_cnn\n"
            "leave out one of the two",
        ),
        (
            ["-m", "model=cifar_bn,mnist_cnn", "experiment=cifar10_bn_best"],
            "experiment=cifar10_bn_best is a recipe for model=cifar_bn, not mnist_cnn\n"
            "leave out one of the two",
        ),
        (["model=[1,2]"], f"model takes one name, not model=[1,2]\nthe names: {MODELS}"),
        (["model=1"], f"model takes one name, not model=1\nthe names: {MODELS}"),
        (["model=null"], f"model takes one name, not model=null\nthe names: {MODELS}"),
        (["model={a:1}"], f"model takes one name, not model={{a:1}}\nthe names: {MODELS}"),
        (["model="], f"model takes one name, not model=\nthe names: {MODELS}"),
        (["~model"], f"model takes one name, not ~model\nthe names: {MODELS}"),
        (
            ["model@x=vgg16"],
            "model@x=vgg16: a key has no @\n`cnnlab train --cfg job` shows all keys",
        ),
        (["--config-dir", "nowhere"], "--config-dir nowhere is not a folder"),
    ],
)
def test_a_slip_is_reported_with_exit_code_2(
    cnnlab: Cnnlab, here: Path, words: list[str], message: str
) -> None:
    assert cnnlab("train", *words) == (2, "", f"cnnlab: {message}\n")
    assert not list(here.iterdir()), "and leaves nothing behind"


@pytest.mark.parametrize(
    ("word", "typed"),
    [
        ("epochs=[1", "\"epochs='[1'\""),
        ("device=gpu#1", "\"device='gpu#1'\""),
        ("device=é", "\"device='é'\""),
        ("device=$x#", "'device='\"'\"'$x#'\"'\"''"),
    ],
)
def test_an_unreadable_override_is_shown_as_it_must_be_typed(
    cnnlab: Cnnlab, here: Path, word: str, typed: str
) -> None:
    assert cnnlab("train", word) == (
        2,
        "",
        f"cnnlab: {word} cannot be read\nto have the value taken as it is, type {typed}\n",
    )
    _, (key, value) = 0, shlex.split(typed)[0].split("=", 1)
    assert cnnlab("train", f"{key}={value}")[2].count("cannot be read") == 0


@pytest.mark.parametrize("word", ["name=é", "name=run#1", "outputs=a,b/x", "outputs=it's é"])
@pytest.mark.parametrize("sweep", [[], pytest.param(["-m", "seed=1,2"], marks=pytest.mark.slow)])
def test_names_need_no_quotes(cnnlab: Cnnlab, here: Path, word: str, sweep: list[str]) -> None:
    key, _, value = word.partition("=")
    assert cnnlab("train", *TINY, "epochs=1", word, *sweep)[0] == 0
    (run,) = (here / (value if key == "outputs" else "outputs") / "train").iterdir()
    assert run.name.endswith("sweep" if sweep else value if key == "name" else "digits_cnn")


def test_a_config_dir_adds_options(cnnlab: Cnnlab, here: Path) -> None:
    own = here / "mine" / "experiment" / "tiny.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "# @package _global_\nepochs: 1\nname: mine\nmodel: {filters: [4], hidden: [4]}\n"
    )
    code, out, err = cnnlab("train", "--config-dir", "mine", "experiment=tiny")
    assert (code, err) == (0, "") and "_mine" in out


@pytest.mark.parametrize("text", ["a: [", "defaults: [nothing]", "epochs: ${nothing}", "a: 1"])
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=1,2"]])
def test_a_broken_configuration_file_is_one_line(
    cnnlab: Cnnlab, here: Path, text: str, sweep: list[str]
) -> None:
    own = here / "mine" / "experiment" / "broken.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(f"# @package _global_\n{text}\n")
    code, _, err = cnnlab("train", "--config-dir", "mine", "experiment=broken", *sweep)
    assert code == 2 and "Traceback" not in err and len(err.splitlines()) <= (3 if sweep else 1), (
        err
    )
    assert [path for path in here.rglob("*") if path.is_file()] == [own]


def test_printing_the_configuration_runs_nothing(cnnlab: Cnnlab, here: Path) -> None:
    code, out, _ = cnnlab("train", "model=mnist_cnn", "--cfg", "job")
    assert code == 0 and "filters:" in out and not list(here.iterdir())
    assert sys.argv == ["cnnlab", "train", "model=mnist_cnn", "--cfg", "job"], (
        "sys.argv is restored"
    )


def test_debug_shows_the_traceback(cnnlab: Cnnlab, here: Path) -> None:
    with pytest.raises(Exception, match=r"optim\.lrr"):
        cnnlab("train", "optim.lrr=1", "--debug")


def test_renamed_keys_are_refused_with_their_new_name() -> None:
    assert format_unknown_key("predict", "top") == "top is now top_k"
    assert format_unknown_key("visualize", "features.layers") == (
        "features.layers is now feature_maps.layers"
    )


@pytest.mark.parametrize(
    ("choice", "fix"),
    [
        ("hydra/launcher/joblib", "pip install hydra-joblib-launcher"),
        ("hydra/sweeper/optuna", "pip install hydra-optuna-sweeper"),
        ("hydra/launcher/nowhere", "or no such plugin exists"),
    ],
)
def test_a_missing_plugin_is_named_with_its_package(choice: str, fix: str) -> None:
    """The message was that it is not one of (none)."""
    error = HydraException(f"Could not find '{choice}'\n\nAvailable options")
    word = "=".join(choice.rsplit("/", 1))
    message = format_hydra_error("train", error)
    assert message.startswith(f"{word} is not installed") and message.endswith(fix)
