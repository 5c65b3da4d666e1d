import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.core import checkpoint
from cnnlab.models.layers import named_sequential
from cnnlab.tasks.visualize.filters import list_dead_filters
from tests.conftest import Cnnlab
from tests.run_visualize import visualize_json


def test_missing_and_damaged_filters_are_reported(cnnlab: Cnnlab, run: Path) -> None:
    first = sorted((run / "filters").iterdir())[0]
    first.write_bytes(b"not an array")
    code, _, err = cnnlab("visualize", "filters")
    assert code == 1 and f"{first.name} does not hold filters" in err
    shutil.rmtree(run / "filters")
    code, out, _ = cnnlab("visualize", "filters")
    assert code == 0 and "holds fewer than two epochs' filters" in out


def test_dead_filters_and_the_cosine_to_the_initialization(cnnlab: Cnnlab, run: Path) -> None:
    """A run whose first filter is dead: zero weights, and a bias below zero."""
    (path,) = [path for path in (run / "checkpoints").glob("*.safetensors") if "50" in path.name]
    groups, record = checkpoint.load_checkpoint(path, "cpu", ("model",))
    groups["model"]["conv_1.conv.weight"][0], groups["model"]["conv_1.conv.bias"][0] = 0, -1
    checkpoint.save_checkpoint(path, groups, record)
    figures = visualize_json(cnnlab, "filters")["figures"]
    assert figures["filters_conv_1_conv"]["is_dead"] == [True, False, False, False]
    assert figures["filters_conv_1_conv"]["is_structured"][0] is False
    cosine = figures["filters_training"]["cosine_to_initial"]
    first, last = (
        torch.from_numpy(np.load(run / "filters" / f"{n:05d}.npy")).flatten(1) for n in (0, 2)
    )
    assert cosine["0"] == pytest.approx(1) and cosine["2"] == pytest.approx(
        float(torch.nn.functional.cosine_similarity(first, last).mean()), rel=1e-5
    )


def test_a_filter_is_dead_where_its_relu_is() -> None:
    """Batch normalization between them can move what is all below zero, or all above."""
    model = named_sequential(
        conv1_1=nn.Conv2d(1, 2, 3),
        norm1_1=nn.BatchNorm2d(2),
        relu1_1=nn.ReLU(),
        output=nn.Linear(4, 2),
    )
    is_dead = {"conv1_1": [False, True], "norm1_1": [False, True], "relu1_1": [True, False]}
    tops = {
        name: SimpleNamespace(is_dead=torch.tensor(dead), values=torch.zeros(1, 2))
        for name, dead in is_dead.items()
    }
    context: Any = SimpleNamespace(
        model=model,
        block_names=[name for name, _ in model.named_children()],
        split_activations=SimpleNamespace(top_activations=tops),
    )
    assert list_dead_filters(context, "conv1_1", 2) == [True, False]
