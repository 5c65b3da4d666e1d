from pathlib import Path

import pytest
import torch

from cnnlab.tasks.visualize.activation_maximization import (
    scale_smoothness,
    select_unit_activations,
)
from tests.conftest import Cnnlab
from tests.run_visualize import visualize_json


def test_select_unit_activations_reads_the_center() -> None:
    output = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    expected = [output[0, 2, 2, 2], output[1, 0, 2, 2]]
    assert select_unit_activations(output, [2, 0]).tolist() == expected
    units = output[..., 0, 0]
    assert select_unit_activations(units, [1, 1]).tolist() == [units[0, 1], units[1, 1]]


def test_smoothness_is_relative_to_the_best_real_activation() -> None:
    assert scale_smoothness(0.5, [4.0, 0.0]).tolist() == pytest.approx([2.0, 0.0005])


def test_smoothness_lowers_the_activation(cnnlab: Cnnlab, run: Path) -> None:
    words = ("activation_maximization", "layer=conv_2", "steps=30", "lr=0.3")
    numbers = [
        visualize_json(cnnlab, *words, f"smoothness={smoothness}")["figures"][
            "activation_maximization_conv_2"
        ]
        for smoothness in (0, 20)
    ]
    free, smooth = (result["activations"] for result in numbers)
    assert sum(free) > sum(smooth)
    assert numbers[0]["best_real_activations"] == pytest.approx(numbers[1]["best_real_activations"])
