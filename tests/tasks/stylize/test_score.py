import json

import pytest
from PIL import Image

from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.conftest import Cnnlab
from tests.tasks.conftest import Paint


def test_the_score_of_a_picture_is_what_was_minimised(paint: Paint, cnnlab: Cnnlab) -> None:
    paint()
    said = read_transfer_record("photo_one.png")["losses"]
    Image.open("photo_one.png").save("copy.png")  # without what it says of itself
    found = json.loads(paint("--score", "copy.png", "--json")[0])
    assert found["content"]["share"] == pytest.approx(said["content"], rel=1e-5)
    assert found["style"]["share"] == pytest.approx(said["style"], rel=1e-5)
    assert (found["width"], found["height"]) == Image.open("copy.png").size
    for name, value in said["layers"].items():
        assert found["layers"][name]["share"] == pytest.approx(value, rel=1e-5)
    paint("style=chapter", "out=chapter.png")
    said = read_transfer_record("chapter.png")["losses"]
    found = json.loads(paint("--score", "chapter.png", "--json")[0])
    assert found["style"]["chapter"] == pytest.approx(said["style"], rel=1e-5)
    assert found["content"]["chapter"] == pytest.approx(said["content"], rel=1e-5)
    table = paint("--score", "copy.png")[0]
    assert "relu5_1" in table and "seen by net.safetensors" in table
    Image.open("photo.png").resize((48, 36), Image.Resampling.LANCZOS).save("small.png")
    untouched = json.loads(paint("--score", "small.png", "--json")[0])
    assert untouched["content"]["share"] == 0 and untouched["style"]["share"] == pytest.approx(
        1, rel=1e-5
    )
    Image.new("RGB", (320, 165)).save(
        "wide.png"
    )  # cnnlab's own results are of one shape, however narrow
    paint("size=33", "coarsest=33", "out=narrow.png", pictures=("wide.png", "one.png"))
    paint("--score", "narrow.png", pictures=("wide.png", "one.png"))
    Image.new("RGB", (48, 48)).save("square.png")
    assert (
        "square.png and photo.png are not of one shape" in paint("--score", "square.png", code=2)[1]
    )
