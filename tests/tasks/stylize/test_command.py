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
from tests.tasks.conftest import NET, QUICK, Paint, pixels


def test_two_pictures_are_enough_and_the_result_says_what_made_it(
    paint: Paint, studio: Path
) -> None:
    out, err = paint()
    assert err == "" and out.startswith(
        "cnnlab stylize: photo.png in the style of one.png\nnet.safetensors, 48x36 pixels"
    )
    assert "\nphoto_one.png\n" in out and pixels("photo_one.png").shape == (36, 48, 3)
    said = read_transfer_record("photo_one.png")
    assert said["steps"] == [4, 3] and said["iterations"] == 7
    assert said["settings"]["style"]["strength"] == 0.8 and said["settings"]["seed"] == 0
    assert (
        set(said["sha256"]) == {"content", "styles", "weights", "settings"}
        and len(said["sha256"]["styles"]) == 1
    )
    assert str(studio) not in json.dumps(said)  # it may be shown to anybody
    assert all(len(line) <= 80 for line in out.splitlines() if "tensorboard" not in line)
    (log,) = (studio / "outputs" / "stylize").iterdir()
    board = EventAccumulator(str(log)).Reload()
    assert {"loss/content", "loss/style", "style/relu5_1"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("loss/loss")] == [2, 4, 6, 7]
    assert [event.step for event in board.Images("picture")] == [3, 4, 6, 7]
    assert json.loads((log / "result.json").read_text())["losses"] == said["losses"]
    assert not list(studio.glob(".*"))


def test_the_seed_is_that_of_the_noise(paint: Paint) -> None:
    for seed in (3, 4):
        paint("start=noise", f"seed={seed}", f"out={seed}.png")
    assert not np.array_equal(pixels("3.png"), pixels("4.png"))


def test_a_file_that_is_there_is_left_unless_told(paint: Paint) -> None:
    paint()
    first = Path("photo_one.png").read_bytes()
    assert "\nphoto_one_2.png\n" in paint("strength=0.2")[0] and "\nphoto_one_3.png\n" in paint()[0]
    assert Path("photo_one.png").read_bytes() == first != Path("photo_one_2.png").read_bytes()
    paint("out=mine.png", "strength=0.3")
    assert "\nmine_2.png\n" in paint("--reproduce", "mine.png")[0]  # named after what it repeats
    assert Path("mine_2.png").read_bytes() == Path("mine.png").read_bytes()
    _, err = paint("out=photo_one.png", code=2)
    assert "photo_one.png is there already: --overwrite replaces it" in err
    paint("out=photo_one.png", "strength=0.2", "--overwrite")
    assert np.array_equal(pixels("photo_one.png"), pixels("photo_one_2.png"))


def test_more_strength_is_less_content_and_less_style_loss(paint: Paint) -> None:
    found = {}
    for strength in ("0.3", "0.6", "0.9"):
        paint(f"strength={strength}", "steps=25", f"out={strength}.png")
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
def test_ways_to_paint(paint: Paint, words: list[str]) -> None:
    paint(*words)
    paint("out=plain.png")
    assert len(np.unique(pixels("photo_one.png"))) > 50
    assert pixels("photo_one.png").shape != (36, 48, 3) or not np.array_equal(
        *map(pixels, ("photo_one.png", "plain.png"))
    )


def test_several_paintings_count_by_their_weights(paint: Paint) -> None:
    three = ("photo.png", "one.png", "two.png")
    paint("style_weights=[1,0]", "out=a.png", pictures=three)
    paint("out=b.png")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    out, _ = paint("style_weights=[1,3]", pictures=three)
    assert "in the style of one.png, two.png" in out and Path("photo_one_two.png").exists()
    assert (
        "style_weights must be 2 numbers" in paint("style_weights=[1]", code=2, pictures=three)[1]
    )


def test_colours_can_stay_the_photographs(paint: Paint) -> None:
    paint("color=content", "steps=60", "out=content.png")
    paint("color=matched", "steps=60", "out=matched.png")
    paint("steps=60", "out=style.png")
    photo = np.asarray(Image.open("photo.png").resize((48, 36), Image.Resampling.LANCZOS)).astype(
        float
    )
    means = {
        name: pixels(f"{name}.png").astype(float).mean((0, 1))
        for name in ("content", "matched", "style")
    }
    far = {name: float(np.abs(mean - photo.mean((0, 1))).max()) for name, mean in means.items()}
    assert 2 * max(far["content"], far["matched"]) < far["style"], far


def test_json_is_all_that_is_printed(paint: Paint) -> None:
    out, err = paint("--json")
    found = json.loads(out)
    assert found["picture"] == "photo_one.png" and found["steps"] == [4, 3]
    assert (
        found["losses"] == read_transfer_record("photo_one.png")["losses"]
        and "scale 2/2 48x36" in err
    )


def test_a_time_is_kept(paint: Paint) -> None:
    """More of it is more steps, at the last scale; the second says so in its own seconds."""
    few, many = (
        json.loads(paint(f"time={t}", "first_steps=3", "--json")[0]) for t in ("0.7s", "3.5")
    )
    assert sum(few["steps"]) < sum(many["steps"]) and many["seconds"] < 3.5 + 4


def test_what_goes_wrong_between_scales_keeps_what_was_painted(
    paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = transfers.TransferLoss.make_objective

    def objective(self: Any, size: Any) -> Any:
        if size == (36, 48):
            raise RuntimeError("not enough memory: you tried to allocate")
        return before(self, size)

    monkeypatch.setattr(transfers.TransferLoss, "make_objective", objective)
    _, err = paint(code=1)
    assert "not enough memory" in err and "as far as it came, painted at 34x25 and enlarged" in err
    assert pixels("photo_one.png").shape == (36, 48, 3) and read_transfer_record("photo_one.png")[
        "steps"
    ] == [4]


@pytest.mark.parametrize("name", ["a,b", "x=1", "it's", "d & (c)", "é" * 110, "a" * 250])
def test_names_mean_themselves(paint: Paint, studio: Path, name: str) -> None:
    long = name.startswith("aaa")
    source = "photo.png" if long else f"{name[:100]}.png"
    if not long:
        Path(source).write_bytes(Path("photo.png").read_bytes())
    paint(f"out=of {name[:100]}.png", pictures=(f"./{source}", "one.png"))
    assert Path(f"of {name[:100]}.png").exists()
    if long:
        Path(f"{name}.png").write_bytes(Path("photo.png").read_bytes())
        for _ in range(2):
            paint(pictures=(f"{name}.png", "one.png"))
        assert len(list(studio.glob("aaaa*"))) == 3


def test_what_memory_ends_at_the_full_size_is_kept_though_it_cannot_be_looked_at(
    paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, looks = transfers.TransferLoss.compute_tile_sums, 0

    def part(self: Any, objective: Any, x: torch.Tensor, *where: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks > 6:
            raise RuntimeError("out of memory")
        return before(self, objective, x, *where)

    monkeypatch.setattr(transfers.TransferLoss, "compute_tile_sums", part)
    _, err = paint("coarsest=99", "first_steps=30", code=1)
    assert "out of memory" in err and err.endswith("photo_one.png is as far as it came\n")
    said = read_transfer_record("photo_one.png")
    assert not said["complete"] and 0 < said["losses"]["style"] < 1 and len(said["steps"]) == 1


def test_a_painting_of_too_few_pixels_is_told(paint: Paint) -> None:
    assert (
        "one.png: fewer pixels than style_scale=2 asks for, and is not enlarged\n"
        in paint("style_scale=2")[0]
    )
    Image.new("RGB", (20, 20)).save("tiny.png")
    out, _ = paint(pictures=("photo.png", "tiny.png"))
    assert "tiny.png: fewer pixels than the picture will have, and is not enlarged\n" in out


@pytest.mark.parametrize("when", [2, 6])
def test_ctrl_c_keeps_what_there_is(
    paint: Paint, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    before, asked = TransferBudget.should_stop, 0

    def enough(self: TransferBudget, scale: int, step: int) -> bool:
        nonlocal asked
        asked += 1
        if asked == when:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, scale, step)

    monkeypatch.setattr(TransferBudget, "should_stop", enough)
    _, err = paint(code=130)
    assert err.startswith(f"cnnlab: stopped at step {when}; photo_one.png is as far as it came")
    assert ("painted at 34x25 and enlarged" in err) == (when == 2)
    assert (
        pixels("photo_one.png").shape == (36, 48, 3)
        and sum(read_transfer_record("photo_one.png")["steps"]) == when
    )
    monkeypatch.setattr(TransferBudget, "should_stop", before)
    paint("--reproduce", "photo_one.png", "out=again.png")
    assert np.array_equal(pixels("again.png"), pixels("photo_one.png"))


def test_a_loss_that_is_not_finite_goes_back_and_says_so(
    paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, asked = transfers.TransferLoss.compute_tile_sums, 0

    def part(self: Any, objective: Any, x: torch.Tensor, *where: Any) -> Any:
        nonlocal asked
        asked += x.requires_grad
        return before(
            self, objective, x * float("nan") if asked == 3 and x.requires_grad else x, *where
        )

    monkeypatch.setattr(transfers.TransferLoss, "compute_tile_sums", part)
    out, _ = paint()
    assert "step 2: the loss was not finite; back to the last picture, with a smaller step" in out
    assert np.isfinite(read_transfer_record("photo_one.png")["losses"]["loss"])


def test_bad_pictures_are_one_line_and_leave_nothing(paint: Paint, studio: Path) -> None:
    whole = Path("photo.png").read_bytes()
    Path("cut.png").write_bytes(whole[: len(whole) // 2])
    Path("text.jpg").write_text("not a picture")
    Image.new("RGB", (300, 1)).save("line.png")
    for name, message in (
        ("cut.png", "cut.png cannot be read"),
        ("text.jpg", "text.jpg is not a picture that can be read"),
        ("absent.png", "no picture absent.png"),
        ("absent/absent.png", "no picture absent/absent.png"),
        ("line.png", "line.png would be looked at in 48x1 pixels, and 16 a side are needed"),
    ):
        _, err = paint(code=2 if name == "line.png" else 1, pictures=(name, "one.png"))
        assert message in err and len(err.splitlines()) == 1
    _, err = paint("max_pixels=3000", code=1)
    assert "photo.png has 3,072 pixels; the limit is 3,000; max_pixels=N raises it" in err
    assert not (studio / "outputs").exists() and not list(studio.glob("*_one*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out=missing/a.png"], "cannot write missing: No such file or directory"),
        (["out=photo.png/a.png"], "cannot write photo.png: Not a directory"),
        (["out=" + "a" * 300 + ".png"], "File name too long"),
        (["out=photo.png", "--overwrite"], "photo.png is one of the pictures to paint from"),
        (["out=a.gif"], "out must end in .png, .jpg, .jpeg, .tif, .tiff or .webp, not a.gif"),
        (["strength=2"], "style: strength must be between 0 and 1, not 2"),
        (["stregth=1"], "unknown key stregth"),
        (
            ["features=vgg13"],
            "features.name must be one of auto, vgg19, vgg16, bundled, random, not 'vgg13'",
        ),
        (["layers=[relu9_9]"], "style: layers are relu1_1 to relu5_4, not 'relu9_9'"),
        (["content_layer=relu4_4"], "layer 'relu4_4' is not one of relu1_1"),
        (["features=vgg19"], "net.safetensors cannot serve: they are another network's"),
        (["time=soon"], "time must be like 30s, 2m, 1m30s or 1:30, not 'soon'"),
        (["style=cubist"], "style 'cubist' is not one of chapter, relative"),
        (["lbfgs.history_size=0"], "history_size must be at least 1"),
        (["optimizer=adam", "adam.lr=7"], "must be between 0 and 1"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(
    paint: Paint, studio: Path, words: list[str], message: str
) -> None:
    _, err = paint(*words, code=1 if "cannot" in message or "too long" in message else 2)
    assert message in err and len(err.splitlines()) <= 2 and not (studio / "outputs").exists()


def test_without_weights_it_paints_with_its_own_and_says_why(studio: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("stylize", "photo.png", "one.png", *QUICK)
    assert code == 0 and err == ""
    assert (
        "\nfeatures=bundled: VGG-19's weights are not here (--download: 575 MB, once)\nbundled, 48x36 pixels"
        in out
    )
    said = read_transfer_record("photo_one.png")
    assert said["settings"]["features"]["name"] == "bundled"  # whatever is here another time
    code, out, _ = cnnlab("stylize", "--reproduce", "photo_one.png", "photo.png", "one.png")
    assert code == 0 and "features=bundled:" not in out
    assert Path("photo_one_2.png").read_bytes() == Path("photo_one.png").read_bytes()
    code, _, err = cnnlab("stylize", "photo.png", "one.png", "features=vgg16", "download=false")
    assert code == 1 and "vgg16's weights" in err
    code, out, _ = cnnlab("stylize", "photo.png", "one.png", "features=random", *QUICK)
    assert code == 0 and "RANDOM WEIGHTS: a network that has learned nothing, for study" in out
    assert cnnlab("stylize", "photo.png")[2].startswith(
        "cnnlab: a photograph and a painting are needed"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_paints_as_well_and_the_same_twice(paint: Paint) -> None:
    for device, precision in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16")):
        paint(
            f"device={device}",
            f"precision={precision}",
            "steps=30",
            f"out={device}_{precision}.png",
        )
    paint("--reproduce", "cuda_bfloat16.png", "device=cuda", "out=again.png")
    assert np.array_equal(pixels("again.png"), pixels("cuda_bfloat16.png"))
    losses = [
        read_transfer_record(f"{name}.png")["losses"]["loss"]
        for name in ("cpu_float32", "cuda_float32", "cuda_bfloat16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.2) and losses[2] == pytest.approx(
        losses[0], rel=0.3
    )


def test_the_pictures_can_be_keys(studio: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("stylize", "content=photo.png", "styles=[one.png]", NET, *QUICK)
    assert code == 0 and "photo_one.png" in out, err
