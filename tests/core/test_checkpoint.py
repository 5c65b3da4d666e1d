import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from cnnlab.core import checkpoint
from cnnlab.core.errors import CnnlabError, UsageError, WriteFailed
from cnnlab.core.files import MAX_HEADER_BYTES
from cnnlab.core.predictions import read_predictions
from cnnlab.style.vgg_weights import read_vgg_weights

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


def test_damaged_checkpoints_do_not_count_when_old_ones_are_pruned(tmp_path: Path) -> None:
    """Two damaged ones of later steps made each new checkpoint be deleted at once."""
    for step in (8, 9):
        checkpoint.checkpoint_path(tmp_path, step).write_bytes(b"cut")
    for step in (1, 2, 3, 4):
        save_checkpoint_step(tmp_path, step, 0.1 * step)
        checkpoint.prune_checkpoints(tmp_path)
    assert checkpoint.list_checkpoint_steps(tmp_path) == [3, 4, 8, 9]
    _, record, damaged = checkpoint.load_newest_valid(tmp_path)
    assert record["step"] == 4 and len(damaged) == 2
    checkpoint.set_aside(damaged)
    assert checkpoint.list_checkpoint_steps(tmp_path) == [3, 4]
    assert len(list(tmp_path.glob("*.damaged"))) == 2


def test_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    save_checkpoint_step(tmp_path, 1, 0.5)
    for name in ("step_2", "step_٣", "step_00000000000004", "step_", f"step_{'9' * 200}"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    assert [step for step in checkpoint.list_checkpoint_steps(tmp_path) if step < 1e9] == [1]
    assert checkpoint.load_newest_valid(tmp_path)[1]["step"] == 1


def test_checkpoint_of_a_newer_format_is_not_passed_over(tmp_path: Path) -> None:
    """It is whole: training on from an older one would lose steps."""
    from safetensors.torch import save_file

    for step in (1, 2, 3):
        save_checkpoint_step(tmp_path, step, 0.5)
    newest = checkpoint.checkpoint_path(tmp_path, 4)
    save_file({"w": torch.ones(1)}, newest, {"cnnlab": "2", "record": "{}"})
    with pytest.raises(CnnlabError, match=r"step_000000004.*format '2'\);\ninstall that version"):
        checkpoint.load_newest_valid(tmp_path)
    checkpoint.prune_checkpoints(tmp_path)
    assert newest.exists()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_no_checkpoint(tmp_path: Path, kind: str) -> None:
    path = checkpoint.checkpoint_path(tmp_path, 1)
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda p: p.symlink_to("/dev/zero")}
    make[kind](path)
    for read in (checkpoint.load_checkpoint, checkpoint.read_record, checkpoint.load_weights):
        with pytest.raises(CnnlabError, match="not a"):
            read(path)


def test_checkpoint_larger_than_memory_is_refused_at_once(tmp_path: Path) -> None:
    """A sparse file takes no disk, and reads as zeros."""
    size = 1 << 42
    header = {"model/w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    text = json.dumps(header | {"__metadata__": {"cnnlab": "1", "record": "{}"}}).encode()
    path = checkpoint.checkpoint_path(tmp_path, 1)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    with pytest.raises(CnnlabError, match="more than this machine's memory"):
        checkpoint.load_checkpoint(path)


def test_header_of_a_million_tensors_is_refused_at_once(tmp_path: Path) -> None:
    """It took minutes, and gigabytes of memory, also in the other readers of safetensors."""
    path = tmp_path / "x.safetensors"
    path.write_bytes((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
    for read in (checkpoint.load_weights, checkpoint.read_record, read_predictions):
        with pytest.raises(CnnlabError, match=r"its header has 8,388,609 bytes"):
            read(path)
    with pytest.raises(CnnlabError, match=r"its header has 8,388,609 bytes"):
        read_vgg_weights(path)


@pytest.mark.parametrize("accuracy", ["1" + "0" * 400, "1e400", "NaN", "[" * 100_000])
def test_unusable_numbers_in_a_record_are_damage(tmp_path: Path, accuracy: str) -> None:
    from safetensors.torch import save_file

    text = json.dumps(RECORD | {"validation": {"accuracy": 0.123}}).replace("0.123", accuracy)
    path = checkpoint.checkpoint_path(tmp_path, 3)
    save_file({"model/w": torch.ones(1)}, path, {"cnnlab": "1", "record": text})
    with pytest.raises(CnnlabError, match="record that cannot be read"):
        checkpoint.read_record(path)


def test_checkpoints_folder_that_is_a_link_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "target")
    with pytest.raises(WriteFailed, match="checkpoints: it is a link"):
        save_checkpoint_step(tmp_path / "checkpoints", 1, 0.5)
    assert not list((tmp_path / "target").iterdir())
