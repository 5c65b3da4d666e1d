import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.core import checkpoint
from cnnlab.style.source_image import image_to_tensor, tensor_to_image
from cnnlab.tasks.trained_run import load_trained_run
from tests.conftest import Cnnlab


@pytest.fixture
def photo(here: Path) -> Path:
    """An image of 48x36 pixels in the working folder."""
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((48, 36), Image.Resampling.BICUBIC).save(here / "photo.png")
    return here / "photo.png"


def last_checkpoint(run: Path) -> Path:
    return checkpoint.find_checkpoint(run / "checkpoints", "last")


def test_a_run_stylizes_an_image(cnnlab: Cnnlab, photo: Path, style_run: Path) -> None:
    """Named after image and style; the pixels are the network's."""
    code, out, err = cnnlab("stylize", "photo.png", str(style_run))
    assert (code, err) == (0, "")
    assert out.startswith(
        "cnnlab stylize: photo.png in the style of one\n"
        f"style network {style_run.name}, step 2\ndevice "
    )
    assert "48x36 pixels, " in out and out.endswith("\n\nphoto_one.png\n")
    assert all(len(line) <= 80 for line in out.splitlines())
    network = load_trained_run(last_checkpoint(style_run)).model
    with torch.inference_mode():
        expected = tensor_to_image(network(image_to_tensor(Image.open(photo))))
    assert np.array_equal(np.asarray(Image.open("photo_one.png")), np.asarray(expected))


def test_last_and_a_file_name_a_network_too(cnnlab: Cnnlab, photo: Path, style_run: Path) -> None:
    shutil.copytree(style_run, Path("outputs/train") / style_run.name)
    file = last_checkpoint(style_run)
    shutil.copy(file, "mine.safetensors")
    for number, name in enumerate(("last", str(file), "mine.safetensors")):
        assert cnnlab("stylize", "photo.png", name, f"out={number}.png")[0] == 0
    first, *others = (Path(f"{number}.png").read_bytes() for number in range(3))
    assert others[0] == first
    assert np.array_equal(np.asarray(Image.open("0.png")), np.asarray(Image.open("2.png")))


def test_existing_files_are_kept(cnnlab: Cnnlab, photo: Path, style_run: Path) -> None:
    cnnlab("stylize", "photo.png", str(style_run))
    _, out, _ = cnnlab("stylize", "photo.png", str(style_run))
    assert out.endswith("\nphoto_one_2.png\n")
    words = ["stylize", "photo.png", str(style_run), "out=photo_one.png"]
    code, _, err = cnnlab(*words)
    assert code == 2 and "photo_one.png already exists: --overwrite replaces it" in err
    assert cnnlab(*words, "--overwrite")[0] == 0
    code, _, err = cnnlab("stylize", "photo.png", str(style_run), "out=photo.png", "--overwrite")
    assert code == 2 and "photo.png is one of the input images" in err


def test_a_folder_is_stylized_once(cnnlab: Cnnlab, photo: Path, style_run: Path) -> None:
    Path("photos").mkdir()
    for name in ("a.png", "b.jpg"):
        Image.open(photo).save(Path("photos") / name)
    Path("photos/c.png").write_text("no image")
    code, out, err = cnnlab("stylize", "photos", str(style_run))
    assert code == 1 and err == "cnnlab: 1 of 3 images failed: c.png\n"
    assert out.endswith("\nphotos_one: 2 stylized, 0 already existed, 1 failed\n")
    Path("photos/c.png").unlink()
    _, out, _ = cnnlab("stylize", "photos", str(style_run))
    assert out.endswith("\nphotos_one: 0 stylized, 2 already existed, 0 failed\n")
    code, out, err = cnnlab("stylize", "photos", str(style_run), "size=40")
    assert code == 1 and "a.png already exists, made otherwise" in out


def test_json_is_a_line_with_the_path(cnnlab: Cnnlab, photo: Path, style_run: Path) -> None:
    code, out, _ = cnnlab("stylize", "photo.png", str(style_run), "--json", "max_tile_pixels=1")
    result = json.loads(out)
    assert code == 0 and (result["width"], result["height"]) == (48, 36)
    assert result["image"] == "photo_one.png" and result["seconds"] > result["network_seconds"]


def test_transparency_and_colors_are_kept(cnnlab: Cnnlab, photo: Path, style_run: Path) -> None:
    image = Image.open(photo)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save("clear.png")
    cnnlab("stylize", "clear.png", str(style_run), "color=content", "out=out.png")
    output = Image.open("out.png")
    assert np.array_equal(np.asarray(output)[..., 3], np.asarray(image)[..., 3])
    assert output.mode == "RGBA"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=3"], "steps=3 is of the optimization, and a style network has none"),
        (["--time", "3s"], "time='3s' is of the optimization"),
        (["color=matched"], "color=matched is of the optimization"),
        (["size=8"], "photo.png: 8x6 pixels are too few\neach side needs at least 16"),
        (["out=x.gif"], "out must end in .png"),
    ],
)
def test_impossible_requests_are_refused(
    cnnlab: Cnnlab, photo: Path, style_run: Path, words: list[str], message: str
) -> None:
    code, _, err = cnnlab("stylize", "photo.png", str(style_run), *words)
    assert code == 2 and message in err
    assert [path.name for path in Path().iterdir()] == ["photo.png"]


def test_a_classifier_stylizes_nothing(cnnlab: Cnnlab, photo: Path, tiny_run: Path) -> None:
    code, _, err = cnnlab("stylize", "photo.png", str(tiny_run))
    assert code == 2 and err == (
        f"cnnlab: {tiny_run} is a classifier, not a style network\n"
        "train one: cnnlab train model=style_network style=STYLE.jpg\n"
    )


def test_such_an_image_is_not_reproduced(cnnlab: Cnnlab, photo: Path, style_run: Path) -> None:
    cnnlab("stylize", "photo.png", str(style_run), "out=made.png")
    code, _, err = cnnlab("stylize", "photo.png", "photo.png", "--reproduce", "made.png")
    assert code == 1 and err == (
        "cnnlab: made.png was made by a style network, not optimized\n"
        "the same command makes it again: cnnlab stylize CONTENT RUN\n"
    )
