import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import nn

from cnnlab.config import compose
from cnnlab.core import checkpoint
from cnnlab.core.schema import call_checked
from cnnlab.data.sources import digits
from cnnlab.projection.knn import find_neighbors
from cnnlab.projection.quality import knn_accuracy
from cnnlab.tasks.embed import command
from cnnlab.tasks.embed.settings import EmbedSettings
from cnnlab.tasks.trained_run import load_run
from tests.conftest import Cnnlab
from tests.small_images import count_colors

QUICK = ("tsne.steps=60", "tsne.early_steps=40", "grid=8")


def run_embed(cnnlab: Cnnlab, *words: str) -> tuple[dict[str, Any], Path]:
    """What `embed` prints as JSON, and its folder."""
    code, out, err = cnnlab("embed", *words, *QUICK, "--json")
    assert (code, err) == (0, ""), err
    result = json.loads(out)
    return result, Path(result["folder"])


def run_refused(cnnlab: Cnnlab, *words: str) -> str:
    code, _, err = cnnlab("embed", *words)
    assert code in (1, 2) and err.startswith("cnnlab: ") and len(err.splitlines()) == 1, (code, err)
    return err


def test_embed_writes_all_outputs(cnnlab: Cnnlab, run: Path) -> None:
    code, out, err = cnnlab("embed", "--tsne", *QUICK)
    assert (code, err) == (0, ""), err
    assert all(len(line) <= 80 for line in out.splitlines() if "outputs/" not in line)
    (folder,) = (run / "embed").iterdir()
    arrays = np.load(folder / "embedding.npz", allow_pickle=False)
    trained, real = load_run(str(run)), digits("test", root=None)
    assert (
        arrays["indices"].tolist() == list(range(360))
        and arrays["labels"].tolist() == real.labels.tolist()
    )
    answers = trained(real.images)
    assert arrays["predictions"].tolist() == answers.argmax(1).tolist()
    logits = trained.model.output(torch.from_numpy(arrays["features"]))
    torch.testing.assert_close(logits.softmax(1), answers)
    scores = json.loads((folder / "scores.json").read_text())["maps"]["digits_cnn"]
    near = find_neighbors(torch.from_numpy(arrays["coordinates"]), 10)[1]
    assert scores["map"]["knn_accuracy"] == pytest.approx(knn_accuracy(near, real.labels))
    assert f"{scores['kl']:.4f}" in out and f"{scores['trustworthiness']:.4f}" in out
    for name in ("scatter", "images", "grid"):
        image = Image.open(folder / "figures" / f"{name}.png")
        assert count_colors(image) > 10, f"{name} shows nothing"
        assert json.loads((folder / "figures" / f"{name}.json").read_text())
    page = (folder / "map.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and f"{scores['kl']:.4f}" in page
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    first = np.fromfile(folder / config.embeddings[0].tensor_path, dtype="<f4").reshape(-1, 3)
    np.testing.assert_array_equal(first[:, :2], arrays["coordinates"])
    words = (folder / config.embeddings[0].metadata_path).read_text().splitlines()
    assert words[0] == "image\tclass\tpredicted" and words[4].startswith(
        f"test #3\t{real.labels[3]}\t"
    )
    tile = config.embeddings[0].sprite.single_image_dim[0]
    sheet = np.asarray(Image.open(folder / config.embeddings[0].sprite.image_path))
    columns = sheet.shape[1] // tile
    x, y = 21 % columns * tile, 21 // columns * tile
    np.testing.assert_array_equal(sheet[y : y + 8, x : x + 8], real.images[21, 0].numpy())
    assert json.loads((folder / "environment.json").read_text())["seed"] == 0
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1


@pytest.mark.slow
def test_map_is_reproducible_by_seed(cnnlab: Cnnlab, run: Path) -> None:
    maps = [
        np.load(run_embed(cnnlab, *words)[1] / "embedding.npz")["coordinates"]
        for words in ((), (), ("seed=1",))
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.allclose(maps[0], maps[2])


def test_pixels_pca_layers_and_subsets(cnnlab: Cnnlab, run: Path) -> None:
    result, folder = run_embed(cnnlab, "--pca", "layer=pixels", "n=40")
    numbers = result["maps"]["digits_cnn"]
    assert (
        numbers["feature_source"] == "pixel values"
        and 0 < numbers["explained_variance_ratio"] < 1
        and "kl" not in numbers
    )
    assert np.load(folder / "embedding.npz")["features"].shape == (40, 64) and folder.name.endswith(
        "_pca_pixels"
    )
    result, _ = run_embed(
        cnnlab, str(run), "layer=conv_1", "split=validation", "perplexity=5", "seeds=0"
    )
    assert (
        result["images"] == 144
        and result["maps"]["digits_cnn"]["feature_source"] == "conv_1 features"
    )


@pytest.mark.slow
def test_two_runs_are_aligned(cnnlab: Cnnlab, run: Path) -> None:
    assert (
        cnnlab(
            "train", "epochs=1", "model.filters=[4,4]", "model.hidden=[8]", "seed=2", "name=other"
        )[0]
        == 0
    )
    (other,) = (run.parent).glob("*_other")
    result, folder = run_embed(cnnlab, str(run), str(other))
    assert list(result["maps"]) == ["digits_cnn", "other"]
    assert 0 <= result["maps"]["other"]["residual"] <= 1
    arrays = np.load(folder / "embedding.npz")
    assert arrays["coordinates_against"].shape == (360, 2) and arrays["features_against"].shape == (
        360,
        8,
    )
    result, _ = run_embed(cnnlab, str(run), str(run), "--pca")
    assert result["maps"][str(run)]["map_neighbor_overlap"] == 1 and result["maps"][str(run)][
        "residual"
    ] == pytest.approx(0, abs=1e-6)
    code, out, _ = cnnlab("embed", str(run), str(other), *QUICK)
    assert code == 0 and "common 10 nearest neighbors" in out


def test_user_images_are_mapped_among_the_test_set(cnnlab: Cnnlab, run: Path, here: Path) -> None:
    (here / "mine").mkdir()
    real = digits("test", root=None)
    for i in (0, 7):
        Image.fromarray(real.images[i, 0].numpy()).save(here / "mine" / f"{i}.png")
    result, folder = run_embed(cnnlab, "split=mine")
    arrays = np.load(folder / "embedding.npz")
    assert result["images"] == 362 and arrays["labels"][-2:].tolist() == [-1, -1]
    assert arrays["names"][-2:].tolist() == ["0.png", "7.png"] and arrays["indices"][-1] == -1
    for place, duplicate in ((360, 0), (361, 7)):  # equal images are neighbors on the map
        apart = np.linalg.norm(arrays["coordinates"] - arrays["coordinates"][place], axis=1)
        assert duplicate in apart.argsort()[:4]


def test_refused_images_do_not_stop_the_map(cnnlab: Cnnlab, run: Path, here: Path) -> None:
    (here / "mine").mkdir()
    Image.new("L", (8, 8), 9).save(here / "mine" / "good.png")
    (here / "mine" / "text.png").write_text("not an image")
    Image.new("L", (60_000, 1)).save(here / "mine" / "thin.png")
    code, out, err = cnnlab("embed", "split=mine", *QUICK, "--json")
    assert code == 1 and err == (
        "cnnlab: mine/text.png is not an image that can be read\n"
        "cnnlab: mine/thin.png is 60,000 times as long as wide; the limit is 1,000\n"
    )
    arrays = np.load(Path(json.loads(out)["folder"]) / "embedding.npz")
    assert json.loads(out)["images"] == 361 and arrays["names"][-1] == "good.png"


def test_torchvision_network_on_user_images_needs_no_run(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, 3))
    monkeypatch.setattr(
        command,
        "load_pretrained",
        lambda name: (model, lambda x: F.adaptive_avg_pool2d(x / 255, 4)),
    )
    rng = np.random.default_rng(0)
    for i in range(8):
        path = here / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    result, folder = run_embed(cnnlab, "features=small", "split=photos", "perplexity=2", "seeds=0")
    assert (
        folder.parent == Path("outputs/embed")
        and list(result["maps"]) == ["small"]
        and result["images"] == 8
    )
    arrays = np.load(folder / "embedding.npz")
    assert (
        arrays["classes"].tolist() == ["a", "b"] and arrays["labels"].tolist() == [0] * 4 + [1] * 4
    )
    assert arrays["features"].shape == (8, 6) and "predictions" not in arrays
    assert "no run with a checkpoint" in run_refused(cnnlab, "features=small", "split=test")


def test_refused_commands_print_one_line_and_write_nothing(cnnlab: Cnnlab, run: Path) -> None:
    assert "tsne.perplexity must be at least 1, not 0.5" in run_refused(cnnlab, "perplexity=0.5")
    assert "n must be at least 5" in run_refused(cnnlab, "n=4")
    assert "layer 'conv' is not one of conv_1" in run_refused(cnnlab, "layer=conv")
    assert "no folder tset" in run_refused(cnnlab, "split=tset")
    assert "is not a network of torchvision's" in run_refused(cnnlab, "features=lenet")
    assert "do not go" in run_refused(cnnlab, str(run), str(run), "layer=pixels")
    assert "do not go with it" in run_refused(cnnlab, "features=resnet18", "layer=pixels")
    assert "one at a time" in run_refused(cnnlab, "--tsne", "--pca")
    assert "embed takes one run, or two" in run_refused(cnnlab, "a", "b", "c")
    assert "no run nothere" in run_refused(cnnlab, "nothere")
    assert "did you mean" in run_refused(cnnlab, "tsne.perplexty=3")
    assert "grid must be between 2 and 64" in run_refused(cnnlab, "grid=65")
    assert "must be between 0 and 1" in run_refused(cnnlab, "near_duplicates=2")
    assert not (run / "embed").exists()


def test_tsne_of_few_images_caps_the_perplexity_and_says_so_first(
    cnnlab: Cnnlab, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = cnnlab("embed", "n=20", *QUICK)
    said = "cnnlab embed: perplexity 6 instead of 30: the maximum for 20 images\n"
    assert (code, err) == (0, said)
    for n in (5, 6, 92):
        assert cnnlab("embed", f"n={n}", *QUICK)[0] == 0, n
    assert cnnlab("embed", "n=92", *QUICK)[2] == "", "30 is the maximum there"

    def extract(*_: object) -> None:
        raise AssertionError("features are computed")

    monkeypatch.setattr(command, "extract_networks", extract)
    with pytest.raises(AssertionError, match="features are computed"):
        cnnlab("embed", "n=20", "--debug")
    assert "tsne.perplexity must be at least 1" in run_refused(cnnlab, "perplexity=0")


def test_three_images_are_refused_before_features_are_computed(
    cnnlab: Cnnlab, run: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extract(*_: object) -> None:
        raise AssertionError("features are computed")

    monkeypatch.setattr(command, "extract_networks", extract)
    (here / "photos").mkdir()
    for i in range(3):
        Image.new("L", (8, 8), 80 * i).save(here / "photos" / f"{i}.png")
    error = run_refused(cnnlab, "features=resnet18", "split=photos")
    assert "a map needs at least 5 images, not 3" in error


def fill_features(run: Path, value: float) -> None:
    """Fill the weights of the penultimate layer in the run's last checkpoint."""
    path = checkpoint.find_checkpoint(run / "checkpoints", "last")
    groups, record = checkpoint.load_checkpoint(path)
    for name in ("weight", "bias"):
        groups["model"][f"fc_1.linear.{name}"].fill_(value)
    checkpoint.save_checkpoint(path, groups, record)


def test_invalid_features_are_refused(cnnlab: Cnnlab, run: Path) -> None:
    fill_features(run, torch.finfo(torch.float32).max)  # the sum overflows
    error = run_refused(cnnlab)
    assert "the penultimate features are not finite for 360 of 360 images, first test #0" in error
    fill_features(run, 0.0)
    error = run_refused(cnnlab)
    assert "the penultimate features are the same for all 360 images: try another layer=" in error


def test_configuration_matches_settings() -> None:
    call_checked(EmbedSettings, compose("embed", []), "")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_map_is_reproducible_and_close_to_cpu(cnnlab: Cnnlab, run: Path) -> None:
    cpu, one, again = (run_embed(cnnlab, f"device={device}") for device in ("cpu", "cuda", "cuda"))
    a, b = (np.load(folder / "embedding.npz") for _, folder in (one, again))
    np.testing.assert_array_equal(a["coordinates"], b["coordinates"])
    kl = [result["maps"]["digits_cnn"]["kl"] for result, _ in (cpu, one)]
    assert kl[0] == pytest.approx(kl[1], rel=0.05)
