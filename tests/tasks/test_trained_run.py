from pathlib import Path

import pytest
import torch

import cnnlab
from cnnlab.config import compose
from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError
from cnnlab.data.sources import digits
from cnnlab.tasks.trained_run import load_run

CONFIG = compose("train", [])


def test_load_returns_trained_network(tiny_run: Path) -> None:
    trained = cnnlab.load(str(tiny_run))
    images = digits("test", root=None).images[:5]
    probabilities = trained(images)
    assert probabilities.shape == (5, 10) and trained.classes == tuple("0123456789")
    torch.testing.assert_close(probabilities.sum(1), torch.ones(5))
    torch.testing.assert_close(probabilities, trained.model(trained.preprocess(images)).softmax(1))
    assert not trained.model.training and trained.step == 50


def test_inconsistent_checkpoint_raises(tiny_run: Path, tmp_path: Path) -> None:
    path = checkpoint.find_checkpoint(tiny_run / "checkpoints", "last")
    groups, record = checkpoint.load_checkpoint(path)

    def load(**changes: object) -> None:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        checkpoint.save_checkpoint(
            checkpoint.checkpoint_path(folder / "checkpoints", record["step"]),
            groups,
            record | changes,
        )
        load_run(str(folder))

    load()
    config = record["config"]
    for changes in (
        {"shape": [1, 16, 16]},
        {"shape": [1, 1 << 20, 1 << 20]},
        {"config": config | {"model": config["model"] | {"filters": [1 << 20, 1 << 20]}}},
        {"config": config | {"model": config["model"] | {"hidden": [1 << 40]}}},
        {"classes": ["a"]},
        {"config": config | {"model": config["model"] | {"_target_": "os.system"}}},
        {"config": config | {"model": {"name": "nothing"}}},
        {"config": {k: v for k, v in config.items() if k != "augment"}},
    ):
        with pytest.raises(CnnlabError, match="does not fit its own description"):
            load(**changes)
