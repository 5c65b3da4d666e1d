import json

import pytest
from PIL import Image

from cnnlab.tasks.stylize.provenance import read_transfer_record
from tests.conftest import Cnnlab
from tests.tasks.conftest import Stylize


def test_score_equals_the_recorded_losses(stylize: Stylize, cnnlab: Cnnlab) -> None:
    stylize()
    record = read_transfer_record("photo_one.png")["losses"]
    Image.open("photo_one.png").save("copy.png")  # without what it says of itself
    scores = json.loads(stylize("--score", "copy.png", "--json")[0])
    assert scores["content"]["wasserstein"] == pytest.approx(record["content"], rel=1e-5)
    assert scores["style"]["wasserstein"] == pytest.approx(record["style"], rel=1e-5)
    assert (scores["width"], scores["height"]) == Image.open("copy.png").size
    for name, value in record["layers"].items():
        assert scores["layers"][name]["wasserstein"] == pytest.approx(value, rel=1e-5)
    stylize("style=chapter", "out=chapter.png")
    record = read_transfer_record("chapter.png")["losses"]
    scores = json.loads(stylize("--score", "chapter.png", "--json")[0])
    assert scores["style"]["chapter"] == pytest.approx(record["style"], rel=1e-5)
    assert scores["content"]["chapter"] == pytest.approx(record["content"], rel=1e-5)
    table = stylize("--score", "copy.png")[0]
    assert "relu5_1" in table and "by net.safetensors" in table
    Image.open("photo.png").resize((48, 36), Image.Resampling.LANCZOS).save("small.png")
    untouched = json.loads(stylize("--score", "small.png", "--json")[0])
    assert untouched["content"]["relative"] == 0 and untouched["style"][
        "relative"
    ] == pytest.approx(1, rel=1e-5)
    Image.new("RGB", (320, 165)).save(
        "wide.png"
    )  # cnnlab's own results are of one shape, however narrow
    stylize("size=33", "coarsest=33", "out=narrow.png", images=("wide.png", "one.png"))
    stylize("--score", "narrow.png", images=("wide.png", "one.png"))
    Image.new("RGB", (48, 48)).save("square.png")
    assert (
        "square.png and photo.png differ in aspect ratio"
        in stylize("--score", "square.png", code=2)[1]
    )


def test_recorded_losses_of_bfloat16_are_those_of_float32(stylize: Stylize) -> None:
    """The saved image is evaluated in float32, whatever it was optimized in."""
    stylize("precision=bfloat16")
    record = read_transfer_record("photo_one.png")["losses"]
    scores = json.loads(stylize("--score", "photo_one.png", "--json")[0])
    assert scores["content"]["wasserstein"] == pytest.approx(record["content"], rel=1e-5)
    assert scores["style"]["wasserstein"] == pytest.approx(record["style"], rel=1e-5)
