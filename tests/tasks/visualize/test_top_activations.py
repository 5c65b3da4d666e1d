from pathlib import Path

import numpy as np
import pytest

from cnnlab.core.hooks import capture_outputs
from cnnlab.data.sources import digits
from cnnlab.models.receptive_field import ReceptiveField, compute_receptive_fields
from cnnlab.tasks.trained_run import load_run
from cnnlab.tasks.visualize.top_activations import make_top_image_cell
from tests.conftest import Cnnlab
from tests.run_visualize import visualize_json


def test_top_activations_are_those_of_the_whole_split(cnnlab: Cnnlab, run: Path) -> None:
    numbers = visualize_json(cnnlab, "top_activations", "layer=conv_2")["figures"][
        "top_activations_conv_2"
    ]
    trained, images = load_run(str(run)), digits("test", root=None)
    maps = capture_outputs(trained.model, trained.preprocess(images.images), ["conv_2"])["conv_2"]
    for row in numbers["channels"]:
        every = maps[:, row["channel"]].amax((1, 2))
        for rank, image in enumerate(row["images"]):
            assert image["value"] == pytest.approx(
                float(every.sort(descending=True).values[rank]), rel=1e-5
            )
            assert float(
                maps[image["index"], row["channel"], image["row"], image["column"]]
            ) == pytest.approx(image["value"])
            assert image["class"] == str(int(images.labels[image["index"]]))
    assert compute_receptive_fields(trained.model, (1, 8, 8))["conv_2"].size == (10, 10)


def test_all_but_the_receptive_field_is_dimmed() -> None:
    rows, columns = ((0, 2), (2, 5), (4, 6)), ((0, 3), (1, 4))
    pixels = np.full((6, 4, 3), 200, np.uint8)
    shown = make_top_image_cell(
        pixels,
        {"value": 1.5, "class": "cat", "row": 1, "column": 0},
        ReceptiveField(rows, columns, rows, columns),
    )
    bright = (shown.image == 200).all(-1)
    assert bright[2:5, 0:3].all() and bright.sum() == 9 and shown.caption == "1.5\ncat"
    assert set(shown.image[~bright].ravel()) == {146}, "three quarters of the way from 200 to 128"
