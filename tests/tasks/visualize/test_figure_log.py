from pathlib import Path

from tests.conftest import Cnnlab
from tests.visualized import found, refused


def test_what_is_refused_leaves_nothing(cnnlab: Cnnlab, run: Path) -> None:
    assert "indices is empty" in refused(cnnlab, "feature_maps", "indices=[]")
    assert "activation_maximization.units is empty" in refused(cnnlab, "activation_maximization", "units=[]")
    assert "no run" in refused(cnnlab, "x" * 300)
    refused(cnnlab, "top_activations", "layer=conv2")
    assert not (run / "visualize").exists()


def test_the_same_seed_finds_the_same_and_changes_nothing_of_the_run(
    cnnlab: Cnnlab, run: Path
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    one, two = (found(cnnlab, "saliency", "activation_maximization", "seed=3", "activation_maximization.steps=5") for _ in range(2))
    assert one["figures"] == two["figures"] and one["folder"] != two["folder"]
    assert all(path.read_bytes() == blob for path, blob in before.items())
