from pathlib import Path
from typing import Any

import pytest
import torch

from cnnlab.tasks.visualize.activation_maximization import dreams, select_unit_activations
from tests.conftest import Cnnlab
from tests.visualized import found


def test_dreams_ask_the_middle_unit_and_pay_for_roughness(
    cnnlab: Cnnlab, run: Path, monkeypatch: Any
) -> None:
    out = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    assert select_unit_activations(out, [2, 0]).tolist() == [out[0, 2, 2, 2], out[1, 0, 2, 2]]
    assert select_unit_activations(out[..., 0, 0], [1, 1]).tolist() == [
        out[0, 1, 0, 0],
        out[1, 1, 0, 0],
    ]
    costs: list[torch.Tensor] = []
    dream = dreams.maximize_activation
    monkeypatch.setattr(
        dreams,
        "maximize_activation",
        lambda *a, **k: costs.append(k["smoothness"]) or dream(*a, **k),
    )
    numbers = found(cnnlab, "activation_maximization", "layer=conv_2", "steps=2", "smoothness=0.5")["figures"][
        "activation_maximization_conv_2"
    ]
    assert costs[0].tolist() == pytest.approx(
        [max(best, 1e-3) / 2 for best in numbers["best_real"]]
    )
