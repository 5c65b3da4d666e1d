from pathlib import Path

import numpy as np
import pytest
import torch

from cnnlab.data.sources import digits
from cnnlab.interpret.attribution import AttributionMap
from cnnlab.tasks.trained_run import load_run
from cnnlab.tasks.visualize.saliency import (
    MapPair,
    list_blank_reasons,
    make_saliency_rows,
    map_pair_to_dict,
)
from cnnlab.viz.image_grid import GridCell
from tests.conftest import Cnnlab
from tests.run_visualize import visualize_json


def test_saliency_explains_the_prediction_and_the_label(cnnlab: Cnnlab, run: Path) -> None:
    numbers = visualize_json(cnnlab, "saliency", "count=1")["figures"]["saliency_0"]
    predicted = max(numbers["probabilities"], key=numbers["probabilities"].__getitem__)
    assert len(numbers["maps"]) == 2 and predicted in numbers["maps"], (
        "the first image is a mistake"
    )
    for maps in numbers["maps"].values():
        assert maps["integrated_gradients"]["completeness_error"] <= 0.01
        assert all(
            -1 <= (result["rank_correlation_to_randomized"] or 0) <= 1 for result in maps.values()
        )
    requested = visualize_json(
        cnnlab, "saliency", "target=3", "indices=0,5", "methods=gradient,grad_cam"
    )["figures"]
    assert [list(result["maps"]) for result in requested.values()] == [["3"], ["3"]]
    assert requested["saliency_1"]["image"] == "test #5"


@pytest.mark.parametrize("baseline", ["black", "mean"])
def test_each_class_is_explained_by_its_own_logit_from_the_named_baseline(
    cnnlab: Cnnlab, run: Path, baseline: str
) -> None:
    words = ("saliency", "count=1", f"baseline={baseline}", "methods=integrated_gradients,gradient")
    numbers = visualize_json(cnnlab, *words)["figures"]["saliency_0"]
    trained, images = load_run(str(run)), digits("test", root=None)
    index = int(numbers["image"].removeprefix("test #"))
    x = trained.preprocess(images.images[index : index + 1])
    reference = (
        trained.preprocess(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
        if baseline == "black"
        else x * 0
    )
    change = (trained.model(x) - trained.model(reference))[0]
    assert len(numbers["maps"]) == 2
    for name, maps in numbers["maps"].items():
        assert maps["integrated_gradients"]["logit_difference"] == pytest.approx(
            float(change[int(name)]), rel=1e-3
        )
        assert maps["gradient"]["rank_correlation_to_randomized"] < 0.95, (
            "beside a network with randomized weights"
        )


def test_blank_map_of_the_randomized_network_has_its_reason() -> None:
    full = AttributionMap(np.eye(3), False, "", {})
    blank = AttributionMap(np.zeros((3, 3)), False, "no place is evidence", {})
    pair = MapPair("grad_cam", full, blank, None)
    cells = make_saliency_rows(GridCell(None), [pair])
    assert cells[1][1].blank_reason == "no place is evidence"
    assert list_blank_reasons(pair, "cat") == [
        "grad_cam for cat, randomized weights, is blank: no place is evidence."
    ]
    assert map_pair_to_dict(pair)["randomized_blank_reason"] == "no place is evidence"
