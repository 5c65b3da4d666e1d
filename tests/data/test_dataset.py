from pathlib import Path

import pytest
import torch

from cnnlab.core.errors import UsageError
from cnnlab.data.dataset import align_labels, hold_out
from cnnlab.data.sources import digits
from tests.data.conftest import load_folder


def test_hold_out_splits_by_seed() -> None:
    whole = digits("train", root=None)
    train, validation = hold_out(whole, count=100, seed=3)
    assert (len(train), len(validation)) == (1337, 100)
    both = torch.cat((train.images, validation.images)).flatten(1).tolist()
    assert sorted(both) == sorted(whole.images.flatten(1).tolist())
    again = hold_out(whole, count=100, seed=3)[1]
    assert torch.equal(again.images, validation.images)
    assert not torch.equal(hold_out(whole, count=100, seed=4)[1].labels, validation.labels)
    for count in (0, 1437):
        with pytest.raises(UsageError, match=r"dataset.validation must be between 1 and 1436"):
            hold_out(whole, count=count, seed=0)


def test_align_labels_by_class_name(root: Path) -> None:
    files = load_folder(root)
    other = align_labels(files, ("cat", "dog", "bee", "ant"))
    assert [other.classes[i] for i in other.labels] == [files.classes[i] for i in files.labels]
    with pytest.raises(UsageError, match="the run knows no class cat; it knows ant, bee"):
        align_labels(files, ("ant", "bee"))
