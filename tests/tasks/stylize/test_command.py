import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnlab.style import transfer as transfers
from cnnlab.style.budget import TransferBudget
from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.conftest import Cnnlab
from tests.tasks.conftest import NET, QUICK, Stylize, pixels


def test_stylize_writes_image_record_and_log(stylize: Stylize, image_folder: Path) -> None:
    out, err = stylize()
    assert err == "" and out.startswith(
        "cnnlab stylize: photo.png in the style of one.png\nnet.safetensors, 48x36 pixels"
    )
    assert "\nphoto_one.png\n" in out and pixels("photo_one.png").shape == (36, 48, 3)
    record = read_transfer_record("photo_one.png")
    assert record["steps"] == [4, 3] and record["iterations"] == 7
    assert record["settings"]["style"]["strength"] == 0.8 and record["settings"]["seed"] == 0
    assert (
        set(record["sha256"]) == {"content", "styles", "weights", "settings"}
        and len(record["sha256"]["styles"]) == 1
    )
    assert str(image_folder) not in json.dumps(record)  # it may be shown to anybody
    assert all(len(line) <= 80 for line in out.splitlines() if "tensorboard" not in line)
    (log,) = (image_folder / "outputs" / "stylize").iterdir()
    board = EventAccumulator(str(log)).Reload()
    assert {"loss/content", "loss/style", "style/relu5_1"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("loss/loss")] == [2, 4, 6, 7]
    assert [event.step for event in board.Images("image")] == [3, 4, 6, 7]
    assert json.loads((log / "result.json").read_text())["losses"] == record["losses"]
    assert not list(image_folder.glob(".*"))


def test_seed_determines_the_noise(stylize: Stylize) -> None:
    for seed in (3, 4):
        stylize("start=noise", f"seed={seed}", f"out={seed}.png")
    assert not np.array_equal(pixels("3.png"), pixels("4.png"))


def test_existing_file_is_kept_without_overwrite(stylize: Stylize) -> None:
    stylize()
    first = Path("photo_one.png").read_bytes()
    assert (
        "\nphoto_one_2.png\n" in stylize("strength=0.2")[0]
        and "\nphoto_one_3.png\n" in stylize()[0]
    )
    assert Path("photo_one.png").read_bytes() == first != Path("photo_one_2.png").read_bytes()
    stylize("out=mine.png", "strength=0.3")
    assert "\nmine_2.png\n" in stylize("--reproduce", "mine.png")[0]  # named after the original
    assert Path("mine_2.png").read_bytes() == Path("mine.png").read_bytes()
    _, err = stylize("out=photo_one.png", code=2)
    assert "photo_one.png already exists: --overwrite replaces it" in err
    stylize("out=photo_one.png", "strength=0.2", "--overwrite")
    assert np.array_equal(pixels("photo_one.png"), pixels("photo_one_2.png"))


def test_strength_trades_content_for_style(stylize: Stylize) -> None:
    found = {}
    for strength in ("0.3", "0.6", "0.9"):
        stylize(f"strength={strength}", "steps=25", f"out={strength}.png")
        found[strength] = read_transfer_record(f"{strength}.png")["losses"]
    assert found["0.3"]["content"] < found["0.6"]["content"] < found["0.9"]["content"]
    assert found["0.3"]["style"] > found["0.6"]["style"] > found["0.9"]["style"]


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=adam"],
        ["start=style"],
        ["features.pool=average"],
        ["precision=bfloat16"],
        ["layers=[relu1_1,relu3_1]", "content_layer=relu3_2"],
        ["style_scale=0.5"],
        ["size=40", "coarsest=100"],
        ["time=0.4"],
    ],
    ids=" ".join,
)
def test_every_option_changes_the_image(stylize: Stylize, words: list[str]) -> None:
    stylize(*words)
    stylize("out=plain.png")
    assert len(np.unique(pixels("photo_one.png"))) > 50
    assert pixels("photo_one.png").shape != (36, 48, 3) or not np.array_equal(
        *map(pixels, ("photo_one.png", "plain.png"))
    )


def test_style_weights(stylize: Stylize) -> None:
    three = ("photo.png", "one.png", "two.png")
    stylize("style_weights=[1,0]", "out=a.png", images=three)
    stylize("out=b.png")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    out, _ = stylize("style_weights=[1,3]", images=three)
    assert "in the style of one.png, two.png" in out and Path("photo_one_two.png").exists()
    assert (
        "style_weights must be 2 numbers" in stylize("style_weights=[1]", code=2, images=three)[1]
    )


def test_color_options_keep_the_content_colors(stylize: Stylize) -> None:
    stylize("color=content", "steps=60", "out=content.png")
    stylize("color=matched", "steps=60", "out=matched.png")
    stylize("steps=60", "out=style.png")
    photo = np.asarray(Image.open("photo.png").resize((48, 36), Image.Resampling.LANCZOS)).astype(
        float
    )
    means = {
        name: pixels(f"{name}.png").astype(float).mean((0, 1))
        for name in ("content", "matched", "style")
    }
    far = {name: float(np.abs(mean - photo.mean((0, 1))).max()) for name, mean in means.items()}
    assert 2 * max(far["content"], far["matched"]) < far["style"], far


def test_json_goes_alone_to_stdout(stylize: Stylize) -> None:
    out, err = stylize("--json")
    found = json.loads(out)
    assert found["image"] == "photo_one.png" and found["steps"] == [4, 3]
    assert (
        found["losses"] == read_transfer_record("photo_one.png")["losses"]
        and "scale 2/2 48x36" in err
    )


def test_time_limit_is_kept(stylize: Stylize) -> None:
    """More of it is more steps, at the last scale; the second says so in its own seconds."""
    few, many = (
        json.loads(stylize(f"time={t}", "first_steps=3", "--json")[0]) for t in ("0.7s", "3.5")
    )
    assert sum(few["steps"]) < sum(many["steps"]) and many["seconds"] < 3.5 + 4


def test_error_between_scales_saves_the_image(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = transfers.TransferLoss.make_objective

    def objective(self: Any, size: Any) -> Any:
        if size == (36, 48):
            raise RuntimeError("not enough memory: you tried to allocate")
        return before(self, size)

    monkeypatch.setattr(transfers.TransferLoss, "make_objective", objective)
    _, err = stylize(code=1)
    assert (
        "not enough memory" in err
        and "the image so far is saved as photo_one.png, optimized at 34x25 and enlarged" in err
    )
    assert pixels("photo_one.png").shape == (36, 48, 3) and read_transfer_record("photo_one.png")[
        "steps"
    ] == [4]


@pytest.mark.parametrize("name", ["a,b", "x=1", "it's", "d & (c)", "é" * 110, "a" * 250])
def test_special_characters_in_names(stylize: Stylize, image_folder: Path, name: str) -> None:
    long = name.startswith("aaa")
    source = "photo.png" if long else f"{name[:100]}.png"
    if not long:
        Path(source).write_bytes(Path("photo.png").read_bytes())
    stylize(f"out=of {name[:100]}.png", images=(f"./{source}", "one.png"))
    assert Path(f"of {name[:100]}.png").exists()
    if long:
        Path(f"{name}.png").write_bytes(Path("photo.png").read_bytes())
        for _ in range(2):
            stylize(images=(f"{name}.png", "one.png"))
        assert len(list(image_folder.glob("aaaa*"))) == 3


def test_out_of_memory_at_full_size_saves_the_image(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, looks = transfers.TransferLoss.compute_tile_sums, 0

    def part(self: Any, objective: Any, x: torch.Tensor, *where: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks > 6:
            raise RuntimeError("out of memory")
        return before(self, objective, x, *where)

    monkeypatch.setattr(transfers.TransferLoss, "compute_tile_sums", part)
    _, err = stylize("coarsest=99", "first_steps=30", code=1)
    assert "out of memory" in err and err.endswith("the image so far is saved as photo_one.png\n")
    record = read_transfer_record("photo_one.png")
    assert (
        not record["complete"] and 0 < record["losses"]["style"] < 1 and len(record["steps"]) == 1
    )


def test_small_style_image_is_reported(stylize: Stylize) -> None:
    assert (
        "one.png: fewer pixels than style_scale=2 requests, not enlarged\n"
        in stylize("style_scale=2")[0]
    )
    Image.new("RGB", (20, 20)).save("tiny.png")
    out, _ = stylize(images=("photo.png", "tiny.png"))
    assert "tiny.png: fewer pixels than the output image, not enlarged\n" in out


@pytest.mark.parametrize("when", [2, 6])
def test_interrupt_saves_the_image(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    before, asked = TransferBudget.should_stop, 0

    def enough(self: TransferBudget, scale: int, step: int) -> bool:
        nonlocal asked
        asked += 1
        if asked == when:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, scale, step)

    monkeypatch.setattr(TransferBudget, "should_stop", enough)
    _, err = stylize(code=130)
    assert err.startswith(
        f"cnnlab: stopped at step {when}; the image so far is saved as photo_one.png"
    )
    assert ("optimized at 34x25 and enlarged" in err) == (when == 2)
    assert (
        pixels("photo_one.png").shape == (36, 48, 3)
        and sum(read_transfer_record("photo_one.png")["steps"]) == when
    )
    monkeypatch.setattr(TransferBudget, "should_stop", before)
    stylize("--reproduce", "photo_one.png", "out=again.png")
    assert np.array_equal(pixels("again.png"), pixels("photo_one.png"))


def test_nonfinite_loss_is_reported_and_recovered(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, asked = transfers.TransferLoss.compute_tile_sums, 0

    def part(self: Any, objective: Any, x: torch.Tensor, *where: Any) -> Any:
        nonlocal asked
        asked += x.requires_grad
        return before(
            self, objective, x * float("nan") if asked == 3 and x.requires_grad else x, *where
        )

    monkeypatch.setattr(transfers.TransferLoss, "compute_tile_sums", part)
    out, _ = stylize()
    assert "step 2: the loss was not finite; returned to the last image, with a smaller step" in out
    assert np.isfinite(read_transfer_record("photo_one.png")["losses"]["loss"])


def test_bad_images_are_refused_in_one_line(stylize: Stylize, image_folder: Path) -> None:
    whole = Path("photo.png").read_bytes()
    Path("cut.png").write_bytes(whole[: len(whole) // 2])
    Path("text.jpg").write_text("not a picture")
    Image.new("RGB", (300, 1)).save("line.png")
    for name, message in (
        ("cut.png", "cut.png cannot be read"),
        ("text.jpg", "text.jpg is not a picture that can be read"),
        ("absent.png", "no image absent.png"),
        ("absent/absent.png", "no image absent/absent.png"),
        ("line.png", "line.png at 48x1 pixels is too small: each side needs at least 16"),
    ):
        _, err = stylize(code=2 if name == "line.png" else 1, images=(name, "one.png"))
        assert message in err and len(err.splitlines()) == 1
    _, err = stylize("max_pixels=3000", code=1)
    assert "photo.png has 3,072 pixels; the limit is 3,000; max_pixels=N raises the limit" in err
    assert not (image_folder / "outputs").exists() and not list(image_folder.glob("*_one*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out=missing/a.png"], "cannot write missing: No such file or directory"),
        (["out=photo.png/a.png"], "cannot write photo.png: Not a directory"),
        (["out=" + "a" * 300 + ".png"], "File name too long"),
        (["out=photo.png", "--overwrite"], "photo.png is one of the pictures to stylize from"),
        (["out=a.gif"], "out must end in .png, .jpg, .jpeg, .tif, .tiff or .webp, not a.gif"),
        (["strength=2"], "style: strength must be between 0 and 1, not 2"),
        (["stregth=1"], "unknown key stregth"),
        (
            ["features=vgg13"],
            "features.name must be one of auto, vgg19, vgg16, bundled, random, not 'vgg13'",
        ),
        (["layers=[relu9_9]"], "style: layers are relu1_1 to relu5_4, not 'relu9_9'"),
        (["content_layer=relu4_4"], "layer 'relu4_4' is not one of relu1_1"),
        (["features=vgg19"], "net.safetensors cannot be used: it is another network"),
        (["time=soon"], "time must be like 30s, 2m, 1m30s or 1:30, not 'soon'"),
        (["style=cubist"], "style 'cubist' is not one of chapter, relative"),
        (["lbfgs.history_size=0"], "history_size must be at least 1"),
        (["optimizer=adam", "adam.lr=7"], "must be between 0 and 1"),
    ],
)
def test_invalid_arguments_are_refused_before_work(
    stylize: Stylize, image_folder: Path, words: list[str], message: str
) -> None:
    _, err = stylize(*words, code=1 if "cannot" in message or "too long" in message else 2)
    assert message in err and len(err.splitlines()) <= 2 and not (image_folder / "outputs").exists()


def test_bundled_weights_are_the_fallback(image_folder: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("stylize", "photo.png", "one.png", *QUICK)
    assert code == 0 and err == ""
    assert (
        "\nfeatures=bundled: no VGG-19 weights found (--download fetches 575 MB, once)\nbundled, 48x36 pixels"
        in out
    )
    record = read_transfer_record("photo_one.png")
    assert record["settings"]["features"]["name"] == "bundled"  # whatever is here another time
    code, out, _ = cnnlab("stylize", "--reproduce", "photo_one.png", "photo.png", "one.png")
    assert code == 0 and "features=bundled:" not in out
    assert Path("photo_one_2.png").read_bytes() == Path("photo_one.png").read_bytes()
    code, _, err = cnnlab("stylize", "photo.png", "one.png", "features=vgg16", "download=false")
    assert code == 1 and "no vgg16 weights found" in err
    code, out, _ = cnnlab("stylize", "photo.png", "one.png", "features=random", *QUICK)
    assert code == 0 and "RANDOM WEIGHTS: the network is untrained" in out
    assert cnnlab("stylize", "photo.png")[2].startswith(
        "cnnlab: stylize needs a content image and a style image"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_result_is_reproducible(stylize: Stylize) -> None:
    for device, precision in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16")):
        stylize(
            f"device={device}",
            f"precision={precision}",
            "steps=30",
            f"out={device}_{precision}.png",
        )
    stylize("--reproduce", "cuda_bfloat16.png", "device=cuda", "out=again.png")
    assert np.array_equal(pixels("again.png"), pixels("cuda_bfloat16.png"))
    losses = [
        read_transfer_record(f"{name}.png")["losses"]["loss"]
        for name in ("cpu_float32", "cuda_float32", "cuda_bfloat16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.2) and losses[2] == pytest.approx(
        losses[0], rel=0.3
    )


def test_images_can_be_given_as_keys(image_folder: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("stylize", "content=photo.png", "styles=[one.png]", NET, *QUICK)
    assert code == 0 and "photo_one.png" in out, err
