import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

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
    assert str(image_folder) not in json.dumps(record)  # the image may be published
    assert all(len(line) <= 80 for line in out.splitlines() if "tensorboard" not in line)
    assert not list(image_folder.glob(".*"))


def test_json_goes_alone_to_stdout(stylize: Stylize) -> None:
    out, err = stylize("--json")
    result = json.loads(out)
    assert result["image"] == "photo_one.png" and result["steps"] == [4, 3]
    assert (
        result["losses"] == read_transfer_record("photo_one.png")["losses"]
        and "scale 2/2 48x36" in err
    )


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


def test_bad_images_are_refused_in_one_line(stylize: Stylize, image_folder: Path) -> None:
    png = Path("photo.png").read_bytes()
    Path("cut.png").write_bytes(png[: len(png) // 2])
    Path("text.jpg").write_text("not an image")
    Image.new("RGB", (300, 1)).save("line.png")
    for name, message in (
        ("cut.png", "cut.png cannot be read"),
        ("text.jpg", "text.jpg is not an image that can be read"),
        ("absent.png", "no file absent.png"),
        ("absent/absent.png", "no file absent/absent.png"),
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
        (["out=photo.png/a.png"], "cannot write photo.png: Not a directory"),
        (["out=" + "a" * 300 + ".png"], "File name too long"),
        (["out=photo.png", "--overwrite"], "photo.png is one of the input images"),
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
        (["features.weights=other.safetensors"], "it is not a VGG: it holds features.0, not conv1"),
        (["style_weights=[1,2]"], "style_weights has 2 numbers for 1 style image: [1, 2]"),
        (["style_weights=[-1]"], "style_weights must be at least 0 and finite, not -1: [-1]"),
        (["style_weights=[nan]"], "style_weights must be at least 0 and finite, not nan: [nan]"),
        (["style_weights=[0]"], "style_weights are all 0: [0]"),
        (["time=soon"], "time must be like 30s, 2m, 1m30s or 1:30, not 'soon'"),
        (["style=cubist"], "style 'cubist' is not one of chapter, relative, wasserstein"),
        (["lbfgs.history_size=0"], "history_size must be at least 1"),
        (["optimizer=adam", "adam.lr=7"], "must be between 0 and 1"),
    ],
)
def test_invalid_arguments_are_refused_before_work(
    stylize: Stylize, image_folder: Path, words: list[str], message: str
) -> None:
    metadata = {"mean": "0,0,0", "std": "1,1,1", "range": "0..1", "color": "RGB"}
    metadata |= {"padding": "zeros", "pool": "max"}
    save_file({"features.0.weight": torch.zeros(4, 3, 3, 3)}, "other.safetensors", metadata)
    is_failure = any(part in message for part in ("cannot", "too long", "not a VGG"))
    _, err = stylize(*words, code=1 if is_failure else 2)
    assert message in err and len(err.splitlines()) <= 2 and not (image_folder / "outputs").exists()


def test_bundled_weights_are_the_fallback(image_folder: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("stylize", "photo.png", "one.png", *QUICK)
    assert code == 0 and err == ""
    assert (
        "\nfeatures=bundled: no VGG-19 weights found (--download fetches 575 MB, once)\n"
        "bundled, 48x36 pixels" in out
    )
    record = read_transfer_record("photo_one.png")
    assert record["settings"]["features"]["name"] == "bundled"  # whatever weights exist later
    code, out, _ = cnnlab("stylize", "--reproduce", "photo_one.png", "photo.png", "one.png")
    assert code == 0 and "features=bundled:" not in out
    assert Path("photo_one_2.png").read_bytes() == Path("photo_one.png").read_bytes()
    code, _, err = cnnlab("stylize", "photo.png", "one.png", "features=vgg16", "download=false")
    assert code == 1 and "vgg16's weights cannot be downloaded" in err
    code, out, _ = cnnlab("stylize", "photo.png", "one.png", "features=random", *QUICK)
    assert code == 0 and "RANDOM WEIGHTS: the network is untrained" in out
    assert cnnlab("stylize", "photo.png")[2].startswith(
        "cnnlab: stylize needs a content image and a style image"
    )


def test_images_can_be_given_as_keys(image_folder: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("stylize", "content=photo.png", "styles=[one.png]", NET, *QUICK)
    assert code == 0 and "photo_one.png" in out, err


@pytest.mark.parametrize("weights", ["[1,-1]", "[nan,1]"])
def test_invalid_style_weight_is_named_when_their_number_is_right(
    stylize: Stylize, weights: str
) -> None:
    _, err = stylize(f"style_weights={weights}", code=2, images=("photo.png", "one.png", "two.png"))
    assert "style_weights must be at least 0 and finite, not " in err and "2 numbers" not in err


def test_missing_folder_of_the_output_is_created(stylize: Stylize) -> None:
    out, _ = stylize("out=missing/deep/a.png")
    assert "\nmissing/deep/a.png\n" in out and Path("missing/deep/a.png").exists()
    assert [path.name for path in Path("missing/deep").iterdir()] == ["a.png"]
