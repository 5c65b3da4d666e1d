from pathlib import Path

import pytest
import torch

from cnnlab.core.hooks import capture_outputs
from cnnlab.data.sources import digits
from cnnlab.interpret.invariance import mean_output_distance, relative_output_distance, shift_images
from cnnlab.tasks.trained_run import TrainedRun, load_run
from cnnlab.tasks.visualize.invariance import format_invariance_headline
from tests.conftest import TINY, Cnnlab
from tests.run_visualize import visualize_json


def measure_one_pixel_shift(trained: TrainedRun, images: torch.Tensor) -> float:
    """Return the mean relative distance of conv_1's ReLU over the four shifts by one pixel."""

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        inputs = trained.preprocess(pixels)
        return capture_outputs(trained.model, inputs, ["conv_1.conv"])["conv_1.conv"].relu()

    reference = forward(images)
    scale = mean_output_distance(reference, reference.roll(1, 0))
    distances = [
        relative_output_distance(reference, forward((shifted * 255).round().to(torch.uint8)), scale)
        for shifted in shift_images(images.float() / 255, 1)
    ]
    return sum(distances) / 4


@pytest.mark.slow
def test_invariance_of_two_runs(cnnlab: Cnnlab, run: Path) -> None:
    assert cnnlab("train", *TINY, "model.pool=strided", "name=strided", "epochs=1")[0] == 0
    other = next(path for path in run.parent.iterdir() if path.name.endswith("strided"))
    words = (
        "invariance",
        str(run),
        f"against={other}",
        "shifts=0,1",
        "rotations=0",
        "darkening=0,0.5",
        "count=20",
    )
    numbers = visualize_json(cnnlab, *words)["figures"]["invariance"]
    assert list(numbers["runs"]) == ["digits_cnn", "strided"]
    ours, theirs = numbers["runs"].values()
    assert visualize_json(cnnlab, *words[:2], f"against={run}", "count=4", "shifts=1")["figures"][
        "invariance"
    ]["runs"].keys() == {"digits_cnn", str(run)}, "of the same name, both are there"
    assert {"conv_1 before pooling", "conv_1 after pooling"} <= set(
        ours["shift"]
    ) and "conv_1" in theirs["shift"]
    for measures_of_run in (ours, theirs):
        for layer, measures in measures_of_run["shift"].items():
            if layer != "all":
                assert (
                    measures["relative_distance"][0] == 0 and measures["unchanged_fraction"][0] == 1
                )
        assert measures_of_run["rotation"]["all"]["prediction_consistency"] == [1.0]
    trained, images = load_run(str(run)), digits("test", root=None)
    index = torch.tensor(numbers["indices"])
    expected = measure_one_pixel_shift(trained, images.images[index])
    assert ours["shift"]["conv_1 before pooling"]["relative_distance"][1] == pytest.approx(
        expected, rel=1e-4
    )
    for batch_size in (7, 1):  # 20 are not a multiple, and one has no other beside it
        again = visualize_json(cnnlab, *words, f"batch_size={batch_size}")["figures"]["invariance"][
            "runs"
        ]["digits_cnn"]
        for change, layers in ours.items():
            for layer, measures in layers.items():
                for name, values in measures.items():
                    assert again[change][layer][name] == pytest.approx(values, rel=1e-4, abs=1e-4)
    before_pooling, after_pooling = (
        ours["shift"][f"conv_1 {side} pooling"]["relative_distance"][1]
        for side in ("before", "after")
    )
    assert (
        before_pooling != after_pooling
        and f"before pooling by {before_pooling:.2f} and after it by {after_pooling:.2f}"
        in format_invariance_headline(ours, [0, 1])
    )
    right = (trained(images.images[index]).argmax(1) == images.labels[index]).double().mean()
    assert ours["shift"]["all"]["accuracy"][0] == pytest.approx(float(right))
