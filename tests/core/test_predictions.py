"""Logits and labels in a file: written and read back, refused when they do not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cnnlab.core.errors import CnnlabError
from cnnlab.core.predictions import read_predictions, write_predictions


def test_logits_and_labels_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    logits, labels = torch.randn(5, 3).T.contiguous().T, torch.tensor([0, 2, 1, 1, 0])
    write_predictions(tmp_path / "test.safetensors", logits, labels)
    read = read_predictions(tmp_path / "test.safetensors")
    assert torch.equal(read[0], logits) and torch.equal(read[1], labels)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"logits": torch.zeros(5, 3)}, "labels"),
        ({"logits": torch.zeros(5, 3), "labels": torch.zeros(4)}, r"\(5, 3\) and labels of \(4,\)"),
        ({"logits": torch.zeros(5), "labels": torch.zeros(5)}, r"\(5,\) and labels of \(5,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(CnnlabError, match=message):
        read_predictions(tmp_path / "x.safetensors")


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    for name in ("missing.safetensors", "damaged.safetensors"):
        with pytest.raises(CnnlabError, match=name):
            read_predictions(tmp_path / name)
