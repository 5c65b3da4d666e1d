import json
from pathlib import Path

import numpy as np
from PIL import Image

from cnnlab.data.augment import OPERATIONS
from tests.conftest import Cnnlab


def test_preview_shows_pipeline_and_trains_nothing(here: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("train", "augment=shift", "augment.preview=true")
    assert code == 0, err
    (folder,) = (here / "outputs" / "preview").iterdir()
    assert out.splitlines()[-1] == str(folder.relative_to(here) / "augment.png")
    assert not (here / "outputs" / "train").exists()
    sheet = np.asarray(Image.open(folder / "augment.png"))
    assert sheet.ndim == 3 and sheet.std() > 10
    assert json.loads((folder / "augment.json").read_text())["augment"]["train"]["shift"] == {
        "px": 2
    }


def test_every_operation_config_names_every_operation() -> None:
    from cnnlab.config import compose

    shown = compose("train", ["augment=every_operation"])["augment"]["train"]
    assert set(shown) | {"center_crop", "views", "normalize"} == set(OPERATIONS), (
        "the others stand in other pipelines"
    )


def test_every_operation_previews_on_real_images(
    real_data: Path, here: Path, cnnlab: Cnnlab
) -> None:
    code, out, err = cnnlab(
        "train", "model=cifar_bn", "augment=every_operation", "augment.preview=true"
    )
    assert code == 0 and out.strip().endswith("augment.png"), err


def test_invalid_pipeline_is_one_line(here: Path, cnnlab: Cnnlab) -> None:
    for words, message in (
        (
            ["augment=distorted_crop"],
            "augment.train: a crop of 24 pixels does not fit into images of 8x8",
        ),
        (
            ["+augment.train.hue.turns=0.1"],
            "augment.train: hue takes color images, of 3 channels, and these have 1",
        ),
        (
            ["+augment.train.flip_left_right.probability=1.5"],
            "probability must be between 0 and 1, not 1.5",
        ),
        (["+augment.train.brigthness.levels=9"], "did you mean brightness?"),
        (
            ["+augment.train.crop={size: 6, padding: 0, mode: zeros}"],
            "augment.train makes images of 1x6x6, augment.eval of 1x8x8",
        ),
        (
            ["+augment.eval.flip_left_right.probability=0.5"],
            "augment.eval.flip_left_right is random",
        ),
        (
            ["+augment.train.views={size: 8, padding: 0, mode: zeros, grid: 2, mirror: false}"],
            "augment.train.views would give a label several",
        ),
    ):
        for flag in ([], ["augment.preview=true"]):
            code, _, err = cnnlab("train", *words, *flag)
            assert code == 2 and message in err and err.count("\n") == 1, err
