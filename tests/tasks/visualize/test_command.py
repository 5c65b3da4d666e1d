import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from cnnlab.cli.arguments import qualify_override
from cnnlab.config import compose, read_task_defaults
from cnnlab.core.device import disable_tf32
from cnnlab.core.renamed_keys import RENAMED_KEYS
from cnnlab.core.schema import check_keywords
from cnnlab.tasks.visualize.registry import VISUALIZERS
from cnnlab.tasks.visualize.report import SECTION_TITLES, is_figure_of
from tests.conftest import Cnnlab
from tests.run_visualize import get_usage_error, visualize_json
from tests.small_images import count_colors


def test_all_visualizers_and_the_report_run_by_default(cnnlab: Cnnlab, run: Path) -> None:
    code, out, err = cnnlab("visualize", "activation_maximization.steps=10")
    assert (code, err) == (0, ""), err
    (folder,) = (run / "visualize").iterdir()
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert figures >= {"confusion", "curves", "mistakes", "reliability"}
    for visualizer in VISUALIZERS:
        assert any(is_figure_of(name, visualizer) for name in figures), visualizer
    for name in figures:
        assert json.loads((folder / "figures" / f"{name}.json").read_text())
        image = Image.open(folder / "figures" / f"{name}.png")
        assert count_colors(image) > 10, f"{name} shows nothing"
    page = (folder / "report.html").read_text()
    assert (
        page.count('<img src="data:image/png;base64,') == len(figures) and "Not shown" not in page
    )
    assert f"{folder.name}/report.html" in out and all(
        f"{name}.png" in out
        for name in figures - {"confusion", "curves", "mistakes", "reliability"}
    )
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert json.loads((folder / "environment.json").read_text())["seed"] == 0
    described = json.loads(cnnlab("describe", str(run), "--json")[1])["totals"]
    assert (
        f"{described['parameters']:,} parameters, {described['multiply_adds']:,} multiply-adds"
        in page
    )
    recorded = json.loads((run / "result.json").read_text())["test"]["accuracy"]
    assert f"test accuracy {recorded:.2%}" in page


def test_missing_maps_are_reported(cnnlab: Cnnlab, here: Path) -> None:
    assert (
        cnnlab(
            "train",
            "model=mnist_mlp",
            "dataset=digits",
            "model.hidden=[6]",
            "epochs=1",
            "threads=1",
        )[0]
        == 0
    )
    assert "no layer of this network has maps" in get_usage_error(cnnlab, "top_activations")
    code, out, _ = cnnlab(
        "visualize", "invariance.count=5", "activation_maximization.steps=2", "saliency.count=1"
    )
    assert code == 0 and "skipped top_activations: no layer of this network has maps" in out
    (page,) = here.glob("outputs/train/*/visualize/*/report.html")
    text = page.read_text()
    assert (
        "Not shown: no layer of this network has maps" in text
        and "the network has no convolution" in text
    )


def test_usage_errors_name_the_choices(cnnlab: Cnnlab, run: Path) -> None:
    assert "did you mean conv_2?" in get_usage_error(cnnlab, "top_activations", "layer=conv2")
    assert "feature_maps.layers 'nothing' is not one of conv_1, conv_1.conv" in get_usage_error(
        cnnlab, "feature_maps", "layers=nothing"
    )
    assert "fc_1 has no convolution; conv_1.conv, conv_2.conv has" in get_usage_error(
        cnnlab, "filters", "layer=fc_1"
    )
    assert "saliency.target 'cat' is not one of 0, 1" in get_usage_error(
        cnnlab, "saliency", "target=cat"
    )
    assert "test has images 0 to 359, and no 360" in get_usage_error(
        cnnlab, "feature_maps", "indices=360"
    )
    assert "activation_maximization.units: conv_1 has 0 to 3, and no 4" in get_usage_error(
        cnnlab, "activation_maximization", "layer=conv_1", "units=4"
    )
    assert "did you mean occlusion?" in get_usage_error(cnnlab, "saliency", "methods=oclusion")
    assert "did you mean saliency?" in get_usage_error(cnnlab, "what=[salience]")
    assert "no run salience" in get_usage_error(cnnlab, "salience")
    assert "visualizer 'saliensy' is not one of activation_maximization, " in get_usage_error(
        cnnlab, "saliensy", str(run)
    )
    assert "looks at one run" in get_usage_error(cnnlab, str(run), str(run.parent))
    assert "nor is it a file" in get_usage_error(cnnlab, "feature_maps", str(run), "nothere.png")
    assert "images are for feature_maps and saliency" in get_usage_error(
        cnnlab, "activation_maximization", "images=a.png"
    )
    assert "leave out" in get_usage_error(cnnlab, "feature_maps", str(run), "filters=sobel")
    assert "list items are addressed by number" in get_usage_error(cnnlab, "what.ever=3")
    assert "saliency.layer: fc_1 has no maps; conv_2 has" in get_usage_error(
        cnnlab, "saliency", "layer=fc_1"
    )
    code, _, err = cnnlab("visualize", "feature_maps", "indices=0", "checkpoint=7")
    assert code != 0 and "7" in err and len(err.splitlines()) == 1
    Path("text.png").write_text("not an image")
    code, _, err = cnnlab("visualize", "saliency", "text.png")
    assert (code, err) == (1, "cnnlab: text.png is not an image that can be read\n")


@pytest.mark.parametrize("words", [["saliency", "methods=gradient"], ["feature_maps"], ["filters"]])
def test_refused_images_do_not_stop_the_others(cnnlab: Cnnlab, run: Path, words: list[str]) -> None:
    Path("text.png").write_text("not an image")
    Image.new("L", (20, 20), 200).save("good.png")
    if words == ["filters"]:
        words = ["feature_maps", "filters=sobel"]
    code, out, err = cnnlab("visualize", words[0], "text.png", "good.png", *words[1:], "--json")
    assert (code, err) == (1, "cnnlab: text.png is not an image that can be read\n")
    figures = json.loads(out)["figures"]
    assert [name for name in figures if name.endswith("_0")] and "good.png" in json.dumps(figures)


def test_keys_of_a_single_visualizer_need_no_prefix() -> None:
    own = read_task_defaults("visualize")
    assert (
        qualify_override("layer=conv_2", "activation_maximization", own)
        == "activation_maximization.layer=conv_2"
    )
    assert (
        qualify_override("filters=sobel,vertical", "feature_maps", own)
        == "feature_maps.filters=[sobel,vertical]"
    )
    assert (
        qualify_override("units=3", "activation_maximization", own)
        == "activation_maximization.units=[3]"
        and qualify_override("indices=3,5", "", own) == "indices=[3,5]"
    )
    assert (
        qualify_override("seed=3", "activation_maximization", own) == "seed=3"
        and qualify_override("layer=a", "", own) == "layer=a"
    )
    assert qualify_override("layers=null", "feature_maps", own) == "feature_maps.layers=null"
    assert qualify_override("images=a b.png", "saliency", own) == "images=['a b.png']"
    for name, builder in VISUALIZERS.items():
        check_keywords(builder, compose("visualize", [])[name], name)


@pytest.mark.parametrize("name", ["dream", "exciting", "features"])
def test_former_names_are_refused_with_the_new_one(cnnlab: Cnnlab, here: Path, name: str) -> None:
    new = RENAMED_KEYS["visualize"][name]
    assert new in VISUALIZERS
    assert f"'{name}' is now named {new}" in get_usage_error(cnnlab, name)
    assert f"'{name}' is now named {new}" in get_usage_error(cnnlab, f"what=[{name}]")


def test_the_former_method_name_is_answered_with_the_new_one(cnnlab: Cnnlab, run: Path) -> None:
    error = get_usage_error(cnnlab, "saliency", "methods=integrated")
    assert "did you mean integrated_gradients?" in error


def test_every_visualizer_has_a_section_and_no_name_is_a_prefix_of_another() -> None:
    assert set(SECTION_TITLES) == set(VISUALIZERS)
    for name in VISUALIZERS:
        assert [other for other in VISUALIZERS if is_figure_of(f"{name}_0", other)] == [name]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_matches_cpu(cnnlab: Cnnlab, run: Path) -> None:
    quick = ("activation_maximization.steps=5", "invariance.count=10", "saliency.count=1")
    with disable_tf32():  # its 10 bits are no more than the tolerance
        cpu, cuda = (
            visualize_json(cnnlab, *quick, f"device={device}")["figures"]
            for device in ("cpu", "cuda")
        )
    assert cpu.keys() == cuda.keys() and cpu["saliency_0"]["image"] == cuda["saliency_0"]["image"]
    for a, b in zip(
        cpu["top_activations_conv_2"]["channels"],
        cuda["top_activations_conv_2"]["channels"],
        strict=True,
    ):
        for x, y in zip(a["images"], b["images"], strict=True):
            assert x["value"] == pytest.approx(y["value"], rel=1e-3, abs=1e-4)
