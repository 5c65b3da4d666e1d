from pathlib import Path

import torch
from PIL import Image

from cnnlab.data.sources import digits
from cnnlab.tasks.trained_run import load_run
from cnnlab.tasks.visualize.feature_maps import make_feature_map_cells
from tests.conftest import Cnnlab
from tests.run_visualize import get_usage_error, visualize_json


def test_handmade_filters_need_no_run(cnnlab: Cnnlab, here: Path) -> None:
    numbers = visualize_json(cnnlab, "feature_maps", "filters=vertical,horizontal,sobel")[
        "figures"
    ]["handmade_filters_0"]["filters"]
    assert {name: result["num_matches"] > 5 for name, result in numbers.items()} == {
        "vertical": True,
        "horizontal": True,
        "sobel": True,
    }
    Image.new("L", (300, 20), 255).save("flat.png")
    flat = visualize_json(cnnlab, "feature_maps", "flat.png", "filters=vertical,sobel")["figures"][
        "handmade_filters_0"
    ]["filters"]
    assert all(result["num_matches"] == 0 for result in flat.values()), (
        "nor does the border count as an edge"
    )
    assert "did you mean sobel" in get_usage_error(cnnlab, "feature_maps", "filters=sobl")
    assert "go with feature_maps" in get_usage_error(
        cnnlab, "activation_maximization", "feature_maps.filters=[sobel]"
    )


def test_the_most_confident_mistake_and_the_highest_mean_come_first(
    cnnlab: Cnnlab, run: Path
) -> None:
    numbers = visualize_json(cnnlab, "feature_maps", "channels=2")["figures"]["feature_maps_0"]
    trained, images = load_run(str(run)), digits("test", root=None)
    probability, predicted = trained(images.images).max(1)
    wrong = torch.where(predicted != images.labels, probability, -1.0)
    assert numbers["image"] == f"test #{int(wrong.argmax())}"
    maps = torch.stack([torch.full((2, 2), value) for value in (1.0, 3.0, 2.0)])
    assert [cell.caption for cell in make_feature_map_cells(maps, 2)] == ["#1", "#2"]
