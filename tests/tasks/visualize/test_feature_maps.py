from pathlib import Path

import torch
from PIL import Image

from cnnlab.data.sources import digits
from cnnlab.tasks.trained_run import load_run
from cnnlab.tasks.visualize.feature_maps import make_feature_map_cells
from tests.conftest import Cnnlab
from tests.visualized import found, refused


def test_filters_by_hand_need_no_run(cnnlab: Cnnlab, here: Path) -> None:
    numbers = found(cnnlab, "feature_maps", "filters=vertical,horizontal,sobel")["figures"][
        "handmade_filters_0"
    ]["filters"]
    assert {name: one["found"] > 5 for name, one in numbers.items()} == {
        "vertical": True,
        "horizontal": True,
        "sobel": True,
    }
    Image.new("L", (300, 20), 255).save("flat.png")
    flat = found(cnnlab, "feature_maps", "flat.png", "filters=vertical,sobel")["figures"][
        "handmade_filters_0"
    ]["filters"]
    assert all(one["found"] == 0 for one in flat.values()), "nor does the border count as an edge"
    assert "did you mean sobel" in refused(cnnlab, "feature_maps", "filters=sobl")
    assert "go with feature_maps" in refused(cnnlab, "activation_maximization", "feature_maps.filters=[sobel]")


def test_the_first_picture_is_the_firmest_mistake_and_the_first_maps_the_brightest(
    cnnlab: Cnnlab, run: Path
) -> None:
    numbers = found(cnnlab, "feature_maps", "channels=2")["figures"]["feature_maps_0"]
    trained, pictures = load_run(str(run)), digits("test", root=None)
    probability, said = trained(pictures.images).max(1)
    wrong = torch.where(said != pictures.labels, probability, -1.0)
    assert numbers["picture"] == f"test #{int(wrong.argmax())}"
    maps = torch.stack([torch.full((2, 2), value) for value in (1.0, 3.0, 2.0)])
    assert [one.caption for one in make_feature_map_cells(maps, 2)] == ["#1", "#2"]
