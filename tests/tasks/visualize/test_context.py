from pathlib import Path

from PIL import Image

from tests.conftest import Cnnlab
from tests.run_visualize import visualize_json


def test_user_images_are_adapted_and_the_title_says_how(
    cnnlab: Cnnlab, run: Path, here: Path
) -> None:
    Image.new("RGB", (40, 30), "white").save("my, image=1.png")
    for words in (["my, image=1.png"], ["images='my, image=1.png'"]):
        numbers = visualize_json(cnnlab, "saliency", *words, "methods=gradient")["figures"][
            "saliency_0"
        ]
        assert numbers["image"] == "my, image=1.png" and numbers["adaptations"][0] == "made gray"
    code, out, _ = cnnlab("visualize", "feature_maps", "my, image=1.png")
    assert code == 0 and "made gray, inverted, 40x30 padded, resized to 8x8" in " ".join(
        out.split()
    )
