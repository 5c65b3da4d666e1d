import runpy
from pathlib import Path

import pytest
import torch

from cnnlab.config import CONFIG_DIR, compose, list_groups, list_keys
from cnnlab.core.quoting import hydra_literal
from cnnlab.core.schema import build_registered, call_checked, check_keywords, flatten_config
from cnnlab.data.build import (
    build_pipelines,
    check_pipeline_shapes,
    compute_input_shape,
    parse_data_settings,
)
from cnnlab.engine.optim import OPTIMIZERS
from cnnlab.engine.schedule import SCHEDULES
from cnnlab.launch import TASKS
from cnnlab.models import build_model, is_classifier
from cnnlab.style.losses import STYLE_LOSSES
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
from cnnlab.style.settings import EncoderSettings
from cnnlab.tasks.bench.settings import BenchSettings
from cnnlab.tasks.compare.runs import find_differing_keys
from cnnlab.tasks.eval.settings import EvalSettings
from cnnlab.tasks.lr_find.settings import LRFindSettings
from cnnlab.tasks.predict.settings import PredictSettings
from cnnlab.tasks.stylize import setup
from cnnlab.tasks.train.settings import TrainSettings

OPTIONS = [(group, option) for group, options in list_groups("train").items() for option in options]


STYLES = list_groups("stylize")["style"]


PUBLISHED = ("alexnet", "vgg16", "vgg19")  # for images of 224 pixels


TUNED = {
    **{f"model/optim/{name}_sgd": 0.01 for name in PUBLISHED},
    "model/optim/cifar_bn_adam": 0.01,
    "model/optim/cifar_cnn_adam": 0.001,
    "model/optim/digits_cnn_adam": 0.003,
    "model/optim/fixed_filters_adam": 0.001,
    "model/optim/mnist_cnn_adam": 0.0001,
    "model/optim/mnist_mlp_adam": 0.001,
    "model/optim/style_network_adam": 0.002,
    "model/optim/cifar_fast_muon": 0.24,
    "model/optim/mnist_fast_muon": 0.24,
    "experiment/optim/cifar10_bn_best_sgd": 0.1,
    "experiment/optim/features_quarter_sgd": 0.1,
    "experiment/optim/mnist_cnn_best_adam": 0.002,
}


SHAPES = {
    "digits": (1, 8, 8),
    "folder": (3, 64, 64),
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "sample_photos": (3, 64, 64),
}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_yaml_composes_and_builds(group: str, option: str) -> None:
    color = ["dataset=cifar10"] if group == "augment" else []
    config = compose("train", [f"{group}={option}", *color])
    settings = call_checked(TrainSettings, config, "")
    pipelines, shape = build_pipelines(settings.augment), SHAPES[settings.dataset["name"]]
    check_pipeline_shapes(pipelines, shape)
    input_shape = compute_input_shape(pipelines.eval, shape)
    with torch.device("meta"):  # some have half a gigabyte of weights
        model = build_model(settings.model, input_shape, 10)
        expected = (10,) if is_classifier(settings.model) else input_shape
        assert model(torch.zeros(2, *input_shape)).shape == (2, *expected)
    spec = dict(settings.optim)
    call_checked(OPTIMIZERS[spec.pop("name")], spec, "optim", model.parameters())
    spec = dict(settings.schedule)
    call_checked(SCHEDULES[spec.pop("name")], spec, "schedule", 100, 10)
    parse_data_settings(settings.dataset)


@pytest.mark.parametrize("option", STYLES)
def test_every_style_composes_and_builds(option: str) -> None:
    settings = call_checked(setup.StylizeSettings, compose("stylize", [f"style={option}"]), "")
    loss = build_registered(STYLE_LOSSES, settings.style, "style")
    assert (loss.deepest_layer, loss.content_layer, len(loss.layers)) == ("relu5_1", "relu4_2", 5)
    call_checked(EncoderSettings, settings.features, "features")
    for name, optimizer in IMAGE_OPTIMIZERS.items():
        check_keywords(optimizer, getattr(settings, name), name)


def test_every_yaml_file_is_tested() -> None:
    known = {f"{group}/{option}.yaml" for group, option in OPTIONS} | {
        f"{task}.yaml" for task in TASKS
    }
    known |= {f"style/{name}.yaml" for name in STYLES}
    known |= {f"model/size/folder_{name}.yaml" for name in (*PUBLISHED, "style_network")}
    known |= {f"{path}.yaml" for path in TUNED}
    assert {
        str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*") if path.is_file()
    } == known


def test_every_component_has_a_yaml_file() -> None:
    from cnnlab.data.sources import SOURCES
    from cnnlab.models import MODELS

    groups = list_groups()
    assert set(MODELS) == set(groups["model"]) and set(SOURCES) == set(groups["dataset"])
    assert set(STYLE_LOSSES) == set(groups["style"])
    assert set(OPTIMIZERS) == set(groups["optim"]) and set(SCHEDULES) == set(groups["schedule"])


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_key_has_a_comment_or_a_heading(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    if path.parent.name in ("optim", "schedule", "dataset", "style") or path.parent == CONFIG_DIR:
        for line in lines:
            if ":" in line and not line.lstrip().startswith(("#", "-", "name", "defaults")):
                assert "#" in line, f"{path.name}: {line}"


def test_the_other_commands_compose() -> None:
    call_checked(EvalSettings, compose("eval", []), "")
    call_checked(PredictSettings, compose("predict", ["images=[a.png]"]), "")
    for task, settings in (("bench", BenchSettings), ("lr_find", LRFindSettings)):
        config = compose(task, ["model=mnist_cnn", "optim=sgd"])
        assert (config["dataset"]["name"], config["optim"]["name"]) == ("mnist", "sgd")
        call_checked(settings, {key: config.pop(key) for key in settings.__annotations__}, "")
        call_checked(TrainSettings, config, "")


def test_a_model_picks_its_data_unless_overridden() -> None:
    assert compose("train", ["model=mnist_cnn"])["dataset"]["name"] == "mnist"
    assert compose("train", ["model=mnist_cnn", "dataset=digits"])["dataset"]["name"] == "digits"
    assert compose("train", ["model=mnist_cnn", "epochs=3", "optim.lr=5"])["optim"]["lr"] == 5
    for name in PUBLISHED:
        assert compose("train", [f"model={name}"])["dataset"]["size"] == 224
        assert compose("train", [f"model={name}", "dataset.size=96"])["dataset"]["size"] == 96
        assert "size" not in compose("train", [f"model={name}", "dataset=cifar10"])["dataset"]
    best = compose("train", ["experiment=mnist_cnn_best"])
    assert (best["name"], best["schedule"]["name"]) == ("mnist_cnn_best", "one_cycle")
    assert list(best["augment"]["train"]) == ["affine", "normalize"]
    assert compose("train", ["experiment=mnist_cnn_best", "augment=none"])["augment"][
        "train"
    ].keys() == {"normalize"}


@pytest.mark.parametrize(
    "path",
    [*list(TUNED)[:4], *(pytest.param(path, marks=pytest.mark.slow) for path in list(TUNED)[4:])],
)
def test_a_tuned_rate_belongs_to_its_optimizer(path: str) -> None:
    """Another optimizer has the settings of its own file, and only those."""
    group, _, file = path.split("/")
    name, _, optimizer = file.rpartition("_")
    assert compose("train", [f"{group}={name}"])["optim"]["lr"] == TUNED[path]
    defaults = {
        o: compose("train", ["model=digits_cnn", f"optim={o}"])["optim"] for o in OPTIMIZERS
    }
    for other in {*OPTIMIZERS, "adamw"} - {optimizer, "adam"}:
        assert compose("train", [f"{group}={name}", f"optim={other}"])["optim"] == defaults[other]
    other = "adam" if optimizer == "sgd" else "sgd"
    config = compose("train", [f"{group}={name}", f"optim={other}", "optim.lr=5"])
    assert config["optim"]["name"] == other and config["optim"]["lr"] == 5
    with torch.device("meta"):
        parameters = torch.nn.Linear(2, 2).parameters()
    build_registered(OPTIMIZERS, config["optim"], "optim", parameters)


def test_sgd_has_its_own_rate_with_a_model_that_was_tuned_for_adam() -> None:
    assert compose("train", ["optim=sgd"])["optim"]["lr"] == 0.1
    assert compose("train", ["optim=adam"])["optim"]["lr"] == 0.003


def test_keys_are_those_of_the_composed_configuration() -> None:
    assert {"model", "optim.lr", "seed", "augment.train.normalize.mean"} <= set(list_keys("train"))


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a b",
        "a=b,c",
        "it's",
        '"',
        "\\",
        "a\\",
        "a\\'b",
        "a\\\\'",
        "'",
        "[1",
        "{",
        "~x",
        "$(x)",
        "null",
        "1",
        "${now:}",
        "\\${x}",
        "a${",
    ],
)
def test_file_names_are_literal_to_hydra(text: str) -> None:
    assert compose("predict", [f"images=[{hydra_literal(text)}]"])["images"] == [text]
    assert compose("eval", [f"run={hydra_literal(text)}"])["run"] == text


def test_cifar10_study_configurations_differ_from_the_chapters_in_one_key() -> None:
    """The configurations that scripts/reproduce_cifar trains."""
    script = runpy.run_path(
        str(Path(__file__).resolve().parents[1] / "scripts/cifar_study/configurations.py")
    )
    configs = {
        name: compose("train", overrides.split())
        for name, overrides in script["CONFIGURATIONS"].items()
    }
    for name, config in configs.items():
        call_checked(TrainSettings, config, "")
        if name in script["STUDY"]:
            chapters = configs[name.split("_")[0]]
            different = {
                key.partition(".")[0]
                for key in find_differing_keys([flatten_config(chapters), flatten_config(config)])
            }
            assert len(different) == (name not in ("cnn", "bn")), f"{name} differs in {different}"
