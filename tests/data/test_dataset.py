from pathlib import Path

import pytest
import torch

from cnnlab.core.errors import UsageError
from cnnlab.data.dataset import align_labels, hold_out, stratified_split
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


@pytest.mark.parametrize("seed", range(20))
def test_no_class_loses_all_its_training_images(seed: int) -> None:
    labels = torch.tensor([0] * 20 + [1] * 20 + [2])
    drawn, rest = stratified_split(labels, ("a", "b", "c"), 0.1, seed, "dataset.test")
    assert labels[drawn].bincount(minlength=3).tolist() == [2, 2, 0]
    assert sorted(drawn.tolist() + rest.tolist()) == list(range(41))
    drawn, rest = stratified_split(labels, ("a", "b", "c"), 38, seed, "dataset.test")
    assert labels[rest].bincount().tolist() == [1, 1, 1]


def test_drawn_shares_are_those_of_the_classes() -> None:
    sizes = torch.tensor([1000, 313, 50, 7, 2])
    labels = torch.arange(5).repeat_interleave(sizes)
    drawn, _ = stratified_split(labels, tuple("abcde"), 0.1, 0, "dataset.test")
    counts = labels[drawn].bincount(minlength=5)
    assert int(counts.sum()) == 137 and (counts - sizes * 137 / 1372).abs().max() < 1
    others = stratified_split(labels, tuple("abcde"), 0.1, 1, "dataset.test")[0]
    assert not torch.equal(drawn, others)


def test_split_that_would_empty_a_class_is_refused_by_name() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2])
    with pytest.raises(UsageError, match=r"3 of 5 images (.|\n)*at most 2 can be\n.*: b\\n, c$"):
        stratified_split(labels, ("a", "b\n", "c"), 3, 0, "dataset.test")
