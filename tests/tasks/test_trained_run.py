import shutil
from pathlib import Path

import pytest
import torch

import cnnlab
from cnnlab.config import compose
from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError
from cnnlab.data.sources import digits
from cnnlab.tasks.trained_run import load_run
from tests.conftest import Cnnlab

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


def test_results_of_a_read_only_run_go_to_outputs(
    tiny_run: Path, here: Path, cnnlab: Cnnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(tiny_run, here / "run"))
    before = sorted(run.rglob("*"))
    monkeypatch.setattr("os.access", lambda path, mode: not Path(path).is_relative_to(run))
    for words in (
        ["eval", str(run), "mistakes=1"],
        ["visualize", "filters", str(run)],
        ["embed", f"run={run}", "--pca", "n=50", "seeds=0"],
    ):
        code, out, err = cnnlab(*words, "outputs=mine")
        assert (code, err) == (0, "") and f"mine/{words[0]}/" in out
        assert len(list((here / "mine" / words[0]).iterdir())) == 1
    assert sorted(run.rglob("*")) == before


def test_results_are_not_written_through_a_link(tiny_run: Path, here: Path, cnnlab: Cnnlab) -> None:
    run = Path(shutil.copytree(tiny_run, here / "run"))
    (here / "target").mkdir()
    for verb in ("eval", "visualize", "embed"):
        (run / verb).symlink_to(here / "target")
        words = {"eval": ["mistakes=0"], "visualize": ["filters"], "embed": ["--pca"]}[verb]
        code, _, err = cnnlab(verb, *words, f"run={run}")
        assert code == 1 and f"{verb}: it is a link" in err
    assert not list((here / "target").iterdir())
