import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.cli.arguments import qualify_override
from cnnlab.config import compose, read_task_defaults
from cnnlab.core.schema import check_keywords
from cnnlab.tasks.visualize.registry import VISUALIZERS
from tests.conftest import Cnnlab
from tests.visualized import found, refused


def test_without_further_words_there_is_everything_and_a_page_of_it(
    cnnlab: Cnnlab, run: Path
) -> None:
    code, out, err = cnnlab("visualize", "activation_maximization.steps=10")
    assert (code, err) == (0, ""), err
    (folder,) = (run / "visualize").iterdir()
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {name.split("_")[0] for name in figures} >= {
        *VISUALIZERS,
        "confusion",
        "curves",
        "mistakes",
        "reliability",
    }
    for name in figures:
        assert json.loads((folder / "figures" / f"{name}.json").read_text())
        image = np.asarray(Image.open(folder / "figures" / f"{name}.png"))
        assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 10, (
            f"{name} shows nothing"
        )
    page = (folder / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == len(figures) and "Not here" not in page
    assert f"{folder.name}/report.html" in out and all(
        f"{one}.png" in out for one in ("invariance", "saliency_2")
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


def test_a_network_without_what_is_asked_for_says_so(cnnlab: Cnnlab, here: Path) -> None:
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
    assert "no layer of this network has maps" in refused(cnnlab, "top_activations")
    code, out, _ = cnnlab("visualize", "invariance.count=5", "activation_maximization.steps=2", "saliency.count=1")
    assert code == 0 and "no top_activations: no layer of this network has maps" in out
    (page,) = here.glob("outputs/train/*/visualize/*/report.html")
    text = page.read_text()
    assert (
        "Not here: no layer of this network has maps" in text
        and "the network has no convolution" in text
    )


def test_bad_words_are_one_line_that_offers_the_choices(cnnlab: Cnnlab, run: Path) -> None:
    assert "did you mean conv_2?" in refused(cnnlab, "top_activations", "layer=conv2")
    assert "feature_maps.layers 'nothing' is not one of conv_1, conv_1.conv" in refused(
        cnnlab, "feature_maps", "layers=nothing"
    )
    assert "fc_1 has no convolution; conv_1.conv, conv_2.conv has" in refused(
        cnnlab, "filters", "layer=fc_1"
    )
    assert "saliency.target 'cat' is not one of 0, 1" in refused(cnnlab, "saliency", "target=cat")
    assert "test has pictures 0 to 359, and no 360" in refused(cnnlab, "feature_maps", "indices=360")
    assert "activation_maximization.units: conv_1 has 0 to 3, and no 4" in refused(
        cnnlab, "activation_maximization", "layer=conv_1", "units=4"
    )
    assert "did you mean occlusion?" in refused(cnnlab, "saliency", "methods=oclusion")
    assert "did you mean saliency?" in refused(cnnlab, "what=[salience]")
    assert "no run salience" in refused(cnnlab, "salience")
    assert "visualizer 'drem' is not one of dream, " in refused(cnnlab, "drem", str(run))
    assert "looks at one run" in refused(cnnlab, str(run), str(run.parent))
    assert "nor is it a file" in refused(cnnlab, "feature_maps", str(run), "nothere.png")
    assert "images are for feature_maps and saliency" in refused(cnnlab, "activation_maximization", "images=a.png")
    assert "leave out" in refused(cnnlab, "feature_maps", str(run), "filters=sobel")
    assert "what is in a list goes by numbers" in refused(cnnlab, "what.ever=3")
    assert "saliency.layer: fc_1 has no maps; conv_2 has" in refused(
        cnnlab, "saliency", "layer=fc_1"
    )
    code, _, err = cnnlab("visualize", "feature_maps", "indices=0", "checkpoint=7")
    assert code != 0 and "7" in err and len(err.splitlines()) == 1
    Path("text.png").write_text("no picture")
    code, _, err = cnnlab("visualize", "saliency", "text.png")
    assert code == 1 and "text.png is not an image that can be read" in err


def test_a_visualizer_named_alone_takes_its_keys_bare() -> None:
    own = read_task_defaults("visualize")
    assert qualify_override("layer=conv_2", "activation_maximization", own) == "activation_maximization.layer=conv_2"
    assert (
        qualify_override("filters=sobel,vertical", "feature_maps", own)
        == "feature_maps.filters=[sobel,vertical]"
    )
    assert (
        qualify_override("units=3", "activation_maximization", own) == "activation_maximization.units=[3]"
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_finds_what_a_cpu_finds(cnnlab: Cnnlab, run: Path) -> None:
    quick = ("activation_maximization.steps=5", "invariance.count=10", "saliency.count=1")
    one, two = (found(cnnlab, *quick, f"device={device}")["figures"] for device in ("cpu", "cuda"))
    assert one.keys() == two.keys() and one["saliency_0"]["picture"] == two["saliency_0"]["picture"]
    for a, b in zip(
        one["top_activations_conv_2"]["channels"], two["top_activations_conv_2"]["channels"], strict=True
    ):
        for x, y in zip(a["pictures"], b["pictures"], strict=True):
            assert x["value"] == pytest.approx(y["value"], rel=1e-3, abs=1e-4)
