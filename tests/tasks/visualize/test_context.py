from pathlib import Path

from PIL import Image

from tests.conftest import Cnnlab
from tests.visualized import found


def test_a_picture_of_ones_own_is_made_to_fit_and_that_is_said(
    cnnlab: Cnnlab, run: Path, here: Path
) -> None:
    Image.new("RGB", (40, 30), "white").save("my, picture=1.png")
    for words in (["my, picture=1.png"], ["images='my, picture=1.png'"]):
        numbers = found(cnnlab, "saliency", *words, "methods=gradient")["figures"]["saliency_0"]
        assert numbers["picture"] == "my, picture=1.png" and numbers["changes"][0] == "made grey"
    code, out, _ = cnnlab("visualize", "feature_maps", "my, picture=1.png")
    assert code == 0 and "made grey, inverted, 40x30 padded, resized to 8x8" in " ".join(
        out.split()
    )
