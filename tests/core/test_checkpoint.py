import pickle
from pathlib import Path

import pytest
import torch

from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError, UsageError, WriteFailed

RECORD = {
    "config": {"a": 1},
    "classes": ["x"],
    "shape": [1, 2, 2],
    "step": 3,
    "validation": {"accuracy": 0.5},
}


def save_checkpoint_step(folder: Path, step: int, accuracy: float) -> Path:
    path = checkpoint.checkpoint_path(folder, step)
    checkpoint.save_checkpoint(
        path,
        {"model": {"w": torch.ones(2)}},
        RECORD | {"step": step, "validation": {"accuracy": accuracy}},
    )
    return path


def test_tensors_and_record_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c" / "step_000000003.safetensors"
    tensors = {
        "model": {"a.b": torch.randn(3, 4).t(), "n": torch.tensor(7)},
        "rng": {"cpu": torch.get_rng_state()},
    }
    checkpoint.save_checkpoint(path, tensors, RECORD)
    groups, record = checkpoint.load_checkpoint(path)
    assert record == RECORD | {"tensors": 3} == checkpoint.read_record(path)
    for group, named in tensors.items():
        for name, tensor in named.items():
            assert torch.equal(groups[group][name], tensor)
    assert checkpoint.load_checkpoint(path, groups=("rng",))[0].keys() == {"rng"}


def test_a_truncated_checkpoint_is_named_as_damaged(tmp_path: Path) -> None:
    blob = save_checkpoint_step(tmp_path, 1, 0.5).read_bytes()
    for tenth in range(10):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(blob[: len(blob) * tenth // 10])
        for read in (checkpoint.load_checkpoint, checkpoint.read_record):
            with pytest.raises(CnnlabError, match=r"cut\.safetensors is not a complete checkpoint"):
                read(path)


class Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the canary sang')",))


def test_a_pickle_instead_of_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "canary.safetensors"
    path.write_bytes(pickle.dumps(Canary()))
    with pytest.raises(CnnlabError, match="not a complete checkpoint"):
        checkpoint.load_checkpoint(path)


def test_a_foreign_or_missing_file_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "foreign.safetensors"
    save_file({"w": torch.ones(1)}, path)
    with pytest.raises(CnnlabError, match="not a cnnlab checkpoint"):
        checkpoint.load_checkpoint(path)
    save_file({"w": torch.ones(1)}, path, {"cnnlab": "1", "record": "[1"})
    with pytest.raises(CnnlabError, match="record that cannot be read"):
        checkpoint.load_checkpoint(path)
    save_file({"w": torch.ones(1)}, path, {"cnnlab": "99", "record": "{}"})
    with pytest.raises(CnnlabError, match="another version"):
        checkpoint.read_record(path)
    with pytest.raises(CnnlabError, match="no checkpoint"):
        checkpoint.load_checkpoint(tmp_path / "absent.safetensors")


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, accuracy in enumerate([0.1, 0.9, 0.9, 0.3, 0.4], 1):
        save_checkpoint_step(tmp_path, step, accuracy)
        checkpoint.prune_checkpoints(tmp_path)
    assert checkpoint.list_checkpoint_steps(tmp_path) == [2, 4, 5]
    assert checkpoint.find_checkpoint(tmp_path, "best") == checkpoint.checkpoint_path(tmp_path, 2)
    assert checkpoint.find_checkpoint(tmp_path, "last") == checkpoint.checkpoint_path(tmp_path, 5)
    assert checkpoint.find_checkpoint(tmp_path, "4") == checkpoint.checkpoint_path(tmp_path, 4)
    with pytest.raises(UsageError, match="checkpoint '3' is not one of 2, 4, 5, best, last"):
        checkpoint.find_checkpoint(tmp_path, "3")


def test_the_previous_checkpoint_replaces_a_damaged_one(tmp_path: Path) -> None:
    for step, accuracy in ((1, 0.9), (2, 0.5), (3, 0.95)):
        save_checkpoint_step(tmp_path, step, accuracy)
    checkpoint.checkpoint_path(tmp_path, 3).write_bytes(b"cut")
    _, record, damaged = checkpoint.load_newest_valid(tmp_path)
    assert record["step"] == 2 and damaged == [checkpoint.checkpoint_path(tmp_path, 3)]
    assert checkpoint.find_checkpoint(tmp_path, "best") == checkpoint.checkpoint_path(tmp_path, 1)
    for step in (1, 2):
        checkpoint.checkpoint_path(tmp_path, step).write_bytes(b"cut")
    with pytest.raises(CnnlabError, match=r"step_000000003.* is not a complete checkpoint"):
        checkpoint.load_newest_valid(tmp_path)


def test_a_failed_save_preserves_the_previous_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_checkpoint_step(tmp_path, 1, 0.5)
    before = path.read_bytes()
    monkeypatch.setattr(
        "safetensors.torch.save_file", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(WriteFailed, match="full"):
        save_checkpoint_step(tmp_path, 1, 0.9)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
