import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cnnlab.cli import bare
from cnnlab.config import compose, plain_defaults
from cnnlab.core import checkpoint
from cnnlab.core.files import write_json
from cnnlab.core.schema import call, check
from cnnlab.core.taps import outputs
from cnnlab.data.sources import digits
from cnnlab.models.receptive import Field, fields
from cnnlab.tasks import parts
from cnnlab.tasks.album import Album
from cnnlab.tasks.looking import Look, Settings
from cnnlab.tasks.report import scored
from cnnlab.tasks.visualizers import VISUALIZERS
from cnnlab.tasks.visualizers.dreams import dreams, excitement
from cnnlab.tasks.visualizers.exciting import cell
from cnnlab.tasks.visualizers.features import of_maps
from cnnlab.tasks.visualizers.invariance import told
from cnnlab.viz.invariance import distance, shifted
from tests.conftest import TINY, Cnnlab


@pytest.fixture
def run(tiny_run: Path, here: Path) -> Path:
    """A copy of the tiny run that may be written to, below outputs."""
    return Path(shutil.copytree(tiny_run, here / "outputs" / "train" / tiny_run.name))


def found(cnnlab: Cnnlab, *words: str) -> dict[str, Any]:
    code, out, err = cnnlab("visualize", *words, "--json")
    assert (code, err) == (0, ""), err
    return dict(json.loads(out))


def refused(cnnlab: Cnnlab, *words: str) -> str:
    code, _, err = cnnlab("visualize", *words)
    assert code == 2 and err.startswith("cnnlab: ") and len(err.splitlines()) == 1, (code, err)
    return err


def test_without_further_words_there_is_everything_and_a_page_of_it(cnnlab: Cnnlab, run: Path) -> None:
    code, out, err = cnnlab("visualize", "dream.steps=10")
    assert (code, err) == (0, ""), err
    (folder,) = (run / "visualize").iterdir()
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {name.split("_")[0] for name in figures} >= {*VISUALIZERS, "confusion", "curves", "mistakes", "reliability"}
    for name in figures:
        assert json.loads((folder / "figures" / f"{name}.json").read_text())
        image = np.asarray(Image.open(folder / "figures" / f"{name}.png"))
        assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 10, f"{name} shows nothing"
    page = (folder / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == len(figures) and "Not here" not in page
    assert f"{folder.name}/report.html" in out and all(f"{one}.png" in out for one in ("invariance", "saliency_2"))
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert json.loads((folder / "environment.json").read_text())["seed"] == 0
    described = json.loads(cnnlab("describe", str(run), "--json")[1])["totals"]
    assert f"{described['parameters']:,} parameters, {described['multiply_adds']:,} multiply-adds" in page
    recorded = json.loads((run / "result.json").read_text())["test"]["accuracy"]
    assert f"test accuracy {recorded:.2%}" in page


def test_the_same_seed_finds_the_same_and_changes_nothing_of_the_run(cnnlab: Cnnlab, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    one, two = (found(cnnlab, "saliency", "dream", "seed=3", "dream.steps=5") for _ in range(2))
    assert one["figures"] == two["figures"] and one["folder"] != two["folder"]
    assert all(path.read_bytes() == blob for path, blob in before.items())


def test_what_excites_a_channel_is_what_the_network_says_of_that_picture(cnnlab: Cnnlab, run: Path) -> None:
    numbers = found(cnnlab, "exciting", "layer=conv_2")["figures"]["exciting_conv_2"]
    trained, pictures = parts.load_run(str(run)), digits("test", root=None)
    maps = outputs(trained.model, trained.preprocess(pictures.images), ["conv_2"])["conv_2"]
    for row in numbers["channels"]:
        every = maps[:, row["channel"]].amax((1, 2))
        for rank, one in enumerate(row["pictures"]):
            assert one["value"] == pytest.approx(float(every.sort(descending=True).values[rank]), rel=1e-5)
            assert float(maps[one["index"], row["channel"], one["row"], one["column"]]) == pytest.approx(one["value"])
            assert one["class"] == str(int(pictures.labels[one["index"]]))
    assert fields(trained.model, (1, 8, 8))["conv_2"].size == (10, 10)


def test_all_but_what_the_unit_sees_is_dimmed() -> None:
    rows, columns = ((0, 2), (2, 5), (4, 6)), ((0, 3), (1, 4))
    picture = np.full((6, 4, 3), 200, np.uint8)
    shown = cell(picture, {"value": 1.5, "class": "cat", "row": 1, "column": 0}, Field(rows, columns, rows, columns))
    bright = (shown.image == 200).all(-1)
    assert bright[2:5, 0:3].all() and bright.sum() == 9 and shown.caption == "1.5\ncat"
    assert set(shown.image[~bright].ravel()) == {146}, "three quarters of the way from 200 to 128"


def test_saliency_explains_what_was_said_and_what_is_true(cnnlab: Cnnlab, run: Path) -> None:
    numbers = found(cnnlab, "saliency", "count=1")["figures"]["saliency_0"]
    said = max(numbers["probabilities"], key=numbers["probabilities"].__getitem__)
    assert len(numbers["maps"]) == 2 and said in numbers["maps"], "the first picture is a mistake"
    for maps in numbers["maps"].values():
        assert maps["integrated"]["completeness_error"] <= 0.01
        assert all(-1 <= (one["similarity_to_randomized"] or 0) <= 1 for one in maps.values())
    asked = found(cnnlab, "saliency", "target=3", "indices=0,5", "methods=gradient,grad_cam")["figures"]
    assert [list(one["maps"]) for one in asked.values()] == [["3"], ["3"]]
    assert asked["saliency_1"]["picture"] == "test #5"


@pytest.mark.parametrize("baseline", ["black", "mean"])
def test_each_class_is_explained_by_its_own_logit_from_the_baseline_that_was_named(
    cnnlab: Cnnlab, run: Path, baseline: str
) -> None:
    words = ("saliency", "count=1", f"baseline={baseline}", "methods=integrated,gradient")
    numbers = found(cnnlab, *words)["figures"]["saliency_0"]
    trained, pictures = parts.load_run(str(run)), digits("test", root=None)
    index = int(numbers["picture"].removeprefix("test #"))
    given = trained.preprocess(pictures.images[index : index + 1])
    nothing = trained.preprocess(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)) if baseline == "black" else given * 0
    change = (trained.model(given) - trained.model(nothing))[0]
    assert len(numbers["maps"]) == 2
    for name, maps in numbers["maps"].items():
        assert maps["integrated"]["logit_difference"] == pytest.approx(float(change[int(name)]), rel=1e-3)
        assert maps["gradient"]["similarity_to_randomized"] < 0.95, "beside a network that has learned nothing"


def test_the_first_picture_is_the_firmest_mistake_and_the_first_maps_the_brightest(cnnlab: Cnnlab, run: Path) -> None:
    numbers = found(cnnlab, "features", "channels=2")["figures"]["features_0"]
    trained, pictures = parts.load_run(str(run)), digits("test", root=None)
    probability, said = trained(pictures.images).max(1)
    wrong = torch.where(said != pictures.labels, probability, -1.0)
    assert numbers["picture"] == f"test #{int(wrong.argmax())}"
    maps = torch.stack([torch.full((2, 2), value) for value in (1.0, 3.0, 2.0)])
    assert [one.caption for one in of_maps(maps, 2)] == ["#1", "#2"]


def test_a_picture_of_ones_own_is_made_to_fit_and_that_is_said(cnnlab: Cnnlab, run: Path, here: Path) -> None:
    Image.new("RGB", (40, 30), "white").save("my, picture=1.png")
    for words in (["my, picture=1.png"], ["pictures='my, picture=1.png'"]):
        numbers = found(cnnlab, "saliency", *words, "methods=gradient")["figures"]["saliency_0"]
        assert numbers["picture"] == "my, picture=1.png" and numbers["changes"][0] == "made grey"
    code, out, _ = cnnlab("visualize", "features", "my, picture=1.png")
    assert code == 0 and "made grey, inverted, 40x30 padded, resized to 8x8" in " ".join(out.split())


def test_filters_by_hand_need_no_run(cnnlab: Cnnlab, here: Path) -> None:
    numbers = found(cnnlab, "features", "filters=vertical,horizontal,sobel")["figures"]["features_by_hand_0"]["filters"]
    assert {name: one["found"] > 5 for name, one in numbers.items()} == {
        "vertical": True,
        "horizontal": True,
        "sobel": True,
    }
    Image.new("L", (300, 20), 255).save("flat.png")
    flat = found(cnnlab, "features", "flat.png", "filters=vertical,sobel")["figures"]["features_by_hand_0"]["filters"]
    assert all(one["found"] == 0 for one in flat.values()), "nor does the border count as an edge"
    assert "did you mean sobel" in refused(cnnlab, "features", "filters=sobl")
    assert "go with features" in refused(cnnlab, "dream", "features.filters=[sobel]")


def test_invariance_beside_another_run(cnnlab: Cnnlab, run: Path) -> None:
    assert cnnlab("train", *TINY, "model.pool=strided", "name=strided", "epochs=1")[0] == 0
    other = next(path for path in run.parent.iterdir() if path.name.endswith("strided"))
    words = ("invariance", str(run), f"against={other}", "shifts=0,1", "rotations=0", "darkening=0,0.5", "count=20")
    numbers = found(cnnlab, *words)["figures"]["invariance"]
    assert list(numbers["runs"]) == ["digits_cnn", "strided"]
    ours, theirs = numbers["runs"].values()
    assert found(cnnlab, *words[:2], f"against={run}", "count=4", "shifts=1")["figures"]["invariance"][
        "runs"
    ].keys() == {"digits_cnn", str(run)}, "of the same name, both are there"
    assert {"conv_1 before pooling", "conv_1 after pooling"} <= set(ours["shift"]) and "conv_1" in theirs["shift"]
    for one in (ours, theirs):
        for layer, measures in one["shift"].items():
            if layer != "all":
                assert measures["distance"][0] == 0 and measures["unchanged"][0] == 1
        assert one["rotation"]["all"]["same_prediction"] == [1.0]
    trained, pictures = parts.load_run(str(run)), digits("test", root=None)
    index = torch.tensor(numbers["pictures"])
    before = outputs(trained.model, trained.preprocess(pictures.images[index]), ["conv_1.conv", "conv_1"])
    apart = []
    for moved in shifted(pictures.images[index].float() / 255, 1):
        again = (moved * 255).round().to(torch.uint8)
        after = outputs(trained.model, trained.preprocess(again), ["conv_1.conv"])["conv_1.conv"].relu()
        apart.append(distance(before["conv_1.conv"].relu(), after))
    assert ours["shift"]["conv_1 before pooling"]["distance"][1] == pytest.approx(sum(apart) / 4, rel=1e-4)
    one, two = (ours["shift"][f"conv_1 {side} pooling"]["distance"][1] for side in ("before", "after"))
    assert one != two and f"before pooling by {one:.2f}, and after it by {two:.2f}" in told(ours, [0, 1])
    right = (trained(pictures.images[index]).argmax(1) == pictures.labels[index]).double().mean()
    assert ours["shift"]["all"]["accuracy"][0] == pytest.approx(float(right))


def test_a_network_without_what_is_asked_for_says_so(cnnlab: Cnnlab, here: Path) -> None:
    assert cnnlab("train", "model=mnist_mlp", "dataset=digits", "model.hidden=[6]", "epochs=1", "threads=1")[0] == 0
    assert "no layer of this network has maps" in refused(cnnlab, "exciting")
    code, out, _ = cnnlab("visualize", "invariance.count=5", "dream.steps=2", "saliency.count=1")
    assert code == 0 and "no exciting: no layer of this network has maps" in out
    (page,) = here.glob("outputs/train/*/visualize/*/report.html")
    text = page.read_text()
    assert "Not here: no layer of this network has maps" in text and "the network has no convolution" in text


def test_bad_words_are_one_line_that_offers_the_choices(cnnlab: Cnnlab, run: Path) -> None:
    assert "did you mean conv_2?" in refused(cnnlab, "exciting", "layer=conv2")
    assert "features.layers 'nothing' is not one of conv_1, conv_1.conv" in refused(
        cnnlab, "features", "layers=nothing"
    )
    assert "fc_1 has no convolution; conv_1.conv, conv_2.conv has" in refused(cnnlab, "filters", "layer=fc_1")
    assert "saliency.target 'cat' is not one of 0, 1" in refused(cnnlab, "saliency", "target=cat")
    assert "test has pictures 0 to 359, and no 360" in refused(cnnlab, "features", "indices=360")
    assert "dream.units: conv_1 has 0 to 3, and no 4" in refused(cnnlab, "dream", "layer=conv_1", "units=4")
    assert "did you mean occlusion?" in refused(cnnlab, "saliency", "methods=oclusion")
    assert "did you mean saliency?" in refused(cnnlab, "what=[salience]")
    assert "no run salience" in refused(cnnlab, "salience")
    assert "visualizer 'drem' is not one of dream, " in refused(cnnlab, "drem", str(run))
    assert "looks at one run" in refused(cnnlab, str(run), str(run.parent))
    assert "nor is it a file" in refused(cnnlab, "features", str(run), "nothere.png")
    assert "pictures are for features and saliency" in refused(cnnlab, "dream", "pictures=a.png")
    assert "leave out" in refused(cnnlab, "features", str(run), "filters=sobel")
    assert "what is in a list goes by numbers" in refused(cnnlab, "what.ever=3")
    assert "saliency.layer: fc_1 has no maps; conv_2 has" in refused(cnnlab, "saliency", "layer=fc_1")
    code, _, err = cnnlab("visualize", "features", "indices=0", "checkpoint=7")
    assert code != 0 and "7" in err and len(err.splitlines()) == 1
    Path("text.png").write_text("no picture")
    code, _, err = cnnlab("visualize", "saliency", "text.png")
    assert code == 1 and "text.png is not a picture that can be read" in err


def test_a_run_without_its_filters_or_with_damaged_ones_says_so(cnnlab: Cnnlab, run: Path) -> None:
    first = sorted((run / "filters").iterdir())[0]
    first.write_bytes(b"not an array")
    code, _, err = cnnlab("visualize", "filters")
    assert code == 1 and f"{first.name} does not hold filters" in err
    shutil.rmtree(run / "filters")
    code, out, _ = cnnlab("visualize", "filters")
    assert code == 0 and "holds fewer than two epochs' filters" in out


def test_dead_filters_are_told_and_the_training_is_held_against_its_beginning(cnnlab: Cnnlab, run: Path) -> None:
    """A run whose first filter is made silent: nothing in, and a bias below zero."""
    (path,) = [one for one in (run / "checkpoints").glob("*.safetensors") if "50" in one.name]
    groups, record = checkpoint.load(path, "cpu", ("model",))
    groups["model"]["conv_1.conv.weight"][0], groups["model"]["conv_1.conv.bias"][0] = 0, -1
    checkpoint.save(path, groups, record)
    figures = found(cnnlab, "filters")["figures"]
    assert figures["filters_conv_1_conv"]["dead"] == [True, False, False, False]
    assert figures["filters_conv_1_conv"]["structured"][0] is False
    like = figures["filters_training"]["cosine_to_beginning"]
    first, last = (torch.from_numpy(np.load(run / "filters" / f"{n:05d}.npy")).flatten(1) for n in (0, 2))
    assert like["0"] == pytest.approx(1) and like["2"] == pytest.approx(
        float(torch.nn.functional.cosine_similarity(first, last).mean()), rel=1e-5
    )


def test_dreams_ask_the_middle_unit_and_pay_for_roughness(cnnlab: Cnnlab, run: Path, monkeypatch: Any) -> None:
    out = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    assert excitement(out, [2, 0]).tolist() == [out[0, 2, 2, 2], out[1, 0, 2, 2]]
    assert excitement(out[..., 0, 0], [1, 1]).tolist() == [out[0, 1, 0, 0], out[1, 1, 0, 0]]
    costs: list[torch.Tensor] = []
    dream = dreams.dream
    monkeypatch.setattr(dreams, "dream", lambda *a, **k: costs.append(k["smoothness"]) or dream(*a, **k))
    numbers = found(cnnlab, "dream", "layer=conv_2", "steps=2", "smoothness=0.5")["figures"]["dream_conv_2"]
    assert costs[0].tolist() == pytest.approx([max(best, 1e-3) / 2 for best in numbers["best_real"]])


def test_the_page_has_the_scores_of_what_is_looked_at(run: Path) -> None:
    """Of an earlier checkpoint, or where the labels have changed since, not those that the run ended with."""
    saved = load_file(run / "test.safetensors")
    saved["logits"] = saved["logits"].roll(1, 0)
    save_file(saved, run / "test.safetensors")
    final, step = shares(saved["logits"], saved["labels"]), parts.load_run(str(run)).step
    assert final in section(run), "the run's own answers"
    write_json(run / "result.json", {"step": 7})
    trained, pictures = parts.load_run(str(run)), digits("test", root=None)
    real = shares(trained(pictures.images), pictures.labels)
    assert real in section(run) and real != final
    write_json(run / "result.json", {"step": step})
    save_file(saved | {"labels": saved["labels"].roll(5)}, run / "test.safetensors")
    assert real in section(run), "other pictures than it was scored on"


def shares(answers: torch.Tensor, labels: torch.Tensor) -> str:
    correct = int((answers.argmax(1) == labels).sum())
    return f"test accuracy {correct / len(labels):.2%} ({correct} of 360;"


def section(run: Path) -> str:
    """What the page says of the scores."""
    settings = call(Settings, compose("visualize", []), "")
    look = Look(parts.load_run(str(run)), settings, torch.device("cpu"), Album(run / "visualize", "all", 0))
    text = scored(look).text
    look.album.close()
    return text


def test_what_is_refused_leaves_nothing(cnnlab: Cnnlab, run: Path) -> None:
    assert "indices is empty" in refused(cnnlab, "features", "indices=[]")
    assert "dream.units is empty" in refused(cnnlab, "dream", "units=[]")
    assert "no run" in refused(cnnlab, "x" * 300)
    refused(cnnlab, "exciting", "layer=conv2")
    assert not (run / "visualize").exists()


def test_names_with_markup_stay_names(cnnlab: Cnnlab, here: Path) -> None:
    """A class that is a script, a run's name in mathematics: on the page they are text."""
    bad = "<img src=x onerror=alert(1)> a$b^$c"
    rng = np.random.default_rng(0)
    for name in (bad, "b & c"):
        (here / "photos" / name).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(here / "photos" / name / f"{i}.png")
    words = ["model=cifar_cnn", "dataset=folder", "dataset.root=photos", "dataset.size=16", "augment=none", *TINY]
    assert cnnlab("train", *words, "threads=1", "batch_size=8", "dataset.workers=0")[0] == 0
    code, _, err = cnnlab("visualize", "invariance.count=4", "invariance.shifts=[0,1]", "dream.steps=2")
    assert (code, err) == (0, "")
    (page,) = here.glob("outputs/train/*/visualize/*/report.html")
    text = page.read_text()
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt;" in text


def test_a_visualizer_named_alone_takes_its_keys_bare() -> None:
    own = plain_defaults("visualize")
    assert bare("layer=conv_2", "dream", own) == "dream.layer=conv_2"
    assert bare("filters=sobel,vertical", "features", own) == "features.filters=[sobel,vertical]"
    assert bare("units=3", "dream", own) == "dream.units=[3]" and bare("indices=3,5", "", own) == "indices=[3,5]"
    assert bare("seed=3", "dream", own) == "seed=3" and bare("layer=a", "", own) == "layer=a"
    assert bare("layers=null", "features", own) == "features.layers=null"
    assert bare("pictures=a b.png", "saliency", own) == "pictures=['a b.png']"
    for name, builder in VISUALIZERS.items():
        check(builder, compose("visualize", [])[name], name)


def test_a_run_from_before_the_record_had_everything_is_still_looked_at(cnnlab: Cnnlab, run: Path) -> None:
    (run / "test.safetensors").unlink()
    write_json(run / "result.json", {})
    code, out, err = cnnlab("visualize", "dream.steps=2", "invariance.count=4")
    assert (code, err) == (0, "") and "report.html" in out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_finds_what_a_cpu_finds(cnnlab: Cnnlab, run: Path) -> None:
    quick = ("dream.steps=5", "invariance.count=10", "saliency.count=1")
    one, two = (found(cnnlab, *quick, f"device={device}")["figures"] for device in ("cpu", "cuda"))
    assert one.keys() == two.keys() and one["saliency_0"]["picture"] == two["saliency_0"]["picture"]
    for a, b in zip(one["exciting_conv_2"]["channels"], two["exciting_conv_2"]["channels"], strict=True):
        for x, y in zip(a["pictures"], b["pictures"], strict=True):
            assert x["value"] == pytest.approx(y["value"], rel=1e-3, abs=1e-4)
