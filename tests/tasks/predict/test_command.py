import csv
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from PIL import Image, ImageOps
from safetensors.torch import load_file

from cnnlab.core.display_text import count_columns
from cnnlab.data.sources import digits
from cnnlab.data.user_images import adapt_drawing
from cnnlab.tasks.predict.command import print_predictions_table
from cnnlab.tasks.trained_run import TrainedRun
from tests.conftest import Cnnlab


def save_digit(index: int, path: Path) -> Image.Image:
    """Save a test image as a file; return the image."""
    image = Image.fromarray(digits("test", root=None).images[index, 0].numpy())
    image.save(path)
    return image


def test_predict_matches_eval_on_test_images(cnnlab: Cnnlab, run: Path) -> None:
    assert cnnlab("eval")[0] == 0
    logits = load_file(next((run / "eval").iterdir()) / "logits.safetensors")["logits"]
    names = []
    for index in (0, 7, 123):
        names.append(f"digit {index}=x,'y'.png")  # not valid as a Hydra override
        save_digit(index, Path(names[-1]))
    code, out, err = cnnlab("predict", *names, "--format", "json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["images"]
    for row, index in zip(rows, (0, 7, 123), strict=True):
        probabilities = logits[index].softmax(0)
        assert row["changes"] == []
        assert row["top"][0]["class"] == str(int(probabilities.argmax()))
        assert row["top"][0]["probability"] == pytest.approx(float(probabilities.max()), abs=1e-6)
        assert len(row["top"]) == 5


def test_table_matches_csv(cnnlab: Cnnlab, run: Path) -> None:
    save_digit(3, Path("a.png"))
    table = cnnlab("predict", "a.png", "top_k=3")[1]
    rows = list(
        csv.DictReader(io.StringIO(cnnlab("predict", "a.png", "top_k=3", "--format", "csv")[1]))
    )
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        assert f" {row['class']:<17} " in table and f"{float(row['probability']):.2%}" in table


def test_table_is_aligned_for_class_names_of_any_script(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["cat", "犬と猫の写真", "שלום", "x" * 60, "🐈" * 60]
    top = [{"class": name, "probability": 0.2} for name in names]
    trained = SimpleNamespace(config={"model": {"name": "m"}}, step=1, folder="r")
    row = {"image": "a.png", "changes": ["made gray"], "top": top}
    print_predictions_table([row], cast(TrainedRun, trained))
    out = capsys.readouterr().out.replace("\u2068", "").replace("\u2069", "")
    lines = [line for line in out.splitlines() if line.endswith("%")]
    assert len(lines) == 5 and len({count_columns(line) for line in lines}) == 1
    assert count_columns(lines[0]) <= 80 and "x" * 60 in out and "\na.png\n  made gray\n" in out


def test_scan_is_converted_inverted_and_resized(cnnlab: Cnnlab, run: Path) -> None:
    scan = (
        ImageOps.invert(save_digit(5, Path("plain.png")))
        .resize((80, 80), Image.Resampling.NEAREST)
        .convert("RGB")
    )
    scan.save("scan.png")
    rows = json.loads(cnnlab("predict", "plain.png", "scan.png", "--format", "json")[1])["images"]
    assert rows[1]["changes"] == ["made gray", "inverted", "80x80 resized to 8x8"]
    plain, changed = (
        adapt_drawing(Image.open(f"{name}.png"), (1, 8, 8))[0] for name in ("plain", "scan")
    )
    assert (plain.int() - changed.int()).abs().max() <= 1
    assert "made gray, inverted, 80x80 resized to 8x8\n" in cnnlab("predict", "scan.png")[1]


def test_unreadable_images_are_reported_after_the_others(cnnlab: Cnnlab, run: Path) -> None:
    save_digit(3, Path("good.png"))
    Path("text.png").write_text("no")
    code, out, err = cnnlab("predict", "text.png", "good.png", "absent.png")
    assert code == 1 and "good.png" in out
    assert err == "cnnlab: text.png is not an image that can be read\ncnnlab: no file absent.png\n"


def test_images_of_a_folder_are_predicted(cnnlab: Cnnlab, run: Path) -> None:
    Path("scans/deep").mkdir(parents=True)
    Path("empty").mkdir()
    for name in ("scans/b.png", "scans/deep/c.png", "a.png"):
        save_digit(3, Path(name))
    Path("scans/notes.txt").write_text("no image")
    code, out, err = cnnlab("predict", "a.png", "scans", "--format", "json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["images"]
    assert [row["image"] for row in rows] == ["a.png", "scans/b.png", "scans/deep/c.png"]
    code, out, err = cnnlab("predict", "empty", "a.png")
    assert code == 1 and "a.png" in out
    assert err == "cnnlab: no images in the folder empty\n"


def test_figures_of_a_run_are_not_predicted(cnnlab: Cnnlab, run: Path) -> None:
    name = str(run.relative_to(Path.cwd()))
    code, out, err = cnnlab("predict", name)
    assert (code, out) == (2, "") and err == (
        f"cnnlab: {name} is a run, not images\n"
        f"to predict with it: cnnlab predict IMAGE_OR_FOLDER... run={name}\n"
    )


def test_refused_images_do_not_stop_the_others(cnnlab: Cnnlab, run: Path) -> None:
    save_digit(3, Path("good.png"))
    Image.new("L", (1, 3_000_000)).save("thin.png")
    os.mkfifo("pipe.png")
    code, out, err = cnnlab("predict", "thin.png", "pipe.png", "good.png")
    assert code == 1 and "good.png" in out
    assert err == (
        "cnnlab: thin.png is 3,000,000 times as long as wide; the limit is 1,000\n"
        "cnnlab: pipe.png cannot be read: it is not a regular file\n"
    )


def test_invalid_arguments_raise_one_line_errors(cnnlab: Cnnlab, run: Path) -> None:
    assert cnnlab("predict") == (2, "", "cnnlab: no images: cnnlab predict IMAGE_OR_FOLDER...\n")
    save_digit(3, Path("good.png"))
    code, _, err = cnnlab("predict", "good.png", "--format", "xml")
    assert (code, err) == (2, "cnnlab: format must be one of table, csv, json, not 'xml'\n")
    code, _, err = cnnlab("predict", "good.png", "top_k=0")
    assert (code, err) == (2, "cnnlab: top_k must be at least 1, not 0\n")


@pytest.mark.data
def test_train_eval_and_predict_agree_on_mnist(cnnlab: Cnnlab, here: Path, real_data: Path) -> None:
    """On real test images, five mistakes of the run among them."""
    from cnnlab.data.sources import mnist

    assert (
        cnnlab("train", "model=mnist_mlp", "epochs=1", "model.hidden=[32]", "batch_size=500")[0]
        == 0
    )
    (run,) = (here / "outputs" / "train").iterdir()
    scored = json.loads(cnnlab("eval", "--json")[1])
    recorded = json.loads((run / "result.json").read_text())["test"]
    assert (scored["accuracy"], scored["loss"]) == (recorded["accuracy"], recorded["loss"])
    assert scored["images"] == 10_000
    folder = Path(scored["folder"])
    mistakes = json.loads((folder / "figures" / "mistakes.json").read_text())
    indices = [row["index"] for row in mistakes[:5]] + [0, 4999, 9999]
    images = mnist("test", root=str(real_data)).images
    for index in indices:
        Image.fromarray(images[index, 0].numpy()).save(f"{index}.png")
    rows = json.loads(
        cnnlab("predict", *(f"{index}.png" for index in indices), "--format", "json")[1]
    )["images"]
    probabilities = load_file(folder / "logits.safetensors")["logits"].softmax(1)
    for row, index in zip(rows, indices, strict=True):
        assert row["changes"] == []
        assert row["top"][0]["class"] == str(int(probabilities[index].argmax()))
        assert row["top"][0]["probability"] == pytest.approx(
            float(probabilities[index].max()), abs=1e-6
        )
    assert [row["top"][0]["class"] for row in rows[:5]] == [
        row["predicted"] for row in mistakes[:5]
    ]
