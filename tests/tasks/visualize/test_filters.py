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
from tests.visualized import found


def test_a_run_without_its_filters_or_with_damaged_ones_says_so(cnnlab: Cnnlab, run: Path) -> None:
    first = sorted((run / "filters").iterdir())[0]
    first.write_bytes(b"not an array")
    code, _, err = cnnlab("visualize", "filters")
    assert code == 1 and f"{first.name} does not hold filters" in err
    shutil.rmtree(run / "filters")
    code, out, _ = cnnlab("visualize", "filters")
    assert code == 0 and "holds fewer than two epochs' filters" in out


def test_dead_filters_are_told_and_the_training_is_held_against_its_beginning(
    cnnlab: Cnnlab, run: Path
) -> None:
    """A run whose first filter is made silent: nothing in, and a bias below zero."""
    (path,) = [one for one in (run / "checkpoints").glob("*.safetensors") if "50" in one.name]
    groups, record = checkpoint.load_checkpoint(path, "cpu", ("model",))
    groups["model"]["conv_1.conv.weight"][0], groups["model"]["conv_1.conv.bias"][0] = 0, -1
    checkpoint.save_checkpoint(path, groups, record)
    figures = found(cnnlab, "filters")["figures"]
    assert figures["filters_conv_1_conv"]["dead"] == [True, False, False, False]
    assert figures["filters_conv_1_conv"]["structured"][0] is False
    like = figures["filters_training"]["cosine_to_beginning"]
    first, last = (
        torch.from_numpy(np.load(run / "filters" / f"{n:05d}.npy")).flatten(1) for n in (0, 2)
    )
    assert like["0"] == pytest.approx(1) and like["2"] == pytest.approx(
        float(torch.nn.functional.cosine_similarity(first, last).mean()), rel=1e-5
    )


def test_a_filter_is_dead_where_its_relu_is_and_not_its_convolution() -> None:
    """Batch normalisation between them can move what is all below zero, or all above."""
    model = named_sequential(
        conv1_1=nn.Conv2d(1, 2, 3),
        norm1_1=nn.BatchNorm2d(2),
        relu1_1=nn.ReLU(),
        output=nn.Linear(4, 2),
    )
    peaks = {name: SimpleNamespace(dead=torch.tensor(dead), value=torch.zeros(1, 2)) for name, dead in
             {"conv1_1": [False, True], "norm1_1": [False, True], "relu1_1": [True, False]}.items()}  # fmt: skip
    survey = SimpleNamespace(peaks=peaks)
    look: Any = SimpleNamespace(
        model=model, blocks=[name for name, _ in model.named_children()], survey=survey
    )
    assert list_dead_filters(look, "conv1_1", 2) == [True, False]
