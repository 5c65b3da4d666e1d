from pathlib import Path

import pytest

from tests.conftest import Cnnlab
from tests.run_visualize import get_usage_error, visualize_json


def test_a_refused_command_leaves_no_folder(cnnlab: Cnnlab, run: Path) -> None:
    assert "indices is empty" in get_usage_error(cnnlab, "feature_maps", "indices=[]")
    assert "activation_maximization.units is empty" in get_usage_error(
        cnnlab, "activation_maximization", "units=[]"
    )
    assert "no run" in get_usage_error(cnnlab, "x" * 300)
    get_usage_error(cnnlab, "top_activations", "layer=conv2")
    assert not (run / "visualize").exists()


@pytest.mark.slow
def test_the_same_seed_repeats_the_figures_and_leaves_the_run_unchanged(
    cnnlab: Cnnlab, run: Path
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    first, second = (
        visualize_json(
            cnnlab,
            "saliency",
            "activation_maximization",
            "seed=3",
            "activation_maximization.steps=5",
        )
        for _ in range(2)
    )
    assert first["figures"] == second["figures"] and first["folder"] != second["folder"]
    assert all(path.read_bytes() == blob for path, blob in before.items())
