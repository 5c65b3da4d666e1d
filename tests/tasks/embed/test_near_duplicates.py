from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cnnlab.data.dataset import TensorImageSet
from cnnlab.data.sources import cifar10
from cnnlab.tasks.embed.images import select_images
from cnnlab.tasks.embed.near_duplicates import find_near_duplicates, match_near_duplicates
from cnnlab.tasks.trained_run import load_run, load_split

RNG = torch.Generator().manual_seed(0)


def make_noise(n: int) -> TensorImageSet:
    return TensorImageSet(
        torch.randint(0, 256, (n, 3, 20, 20), dtype=torch.uint8, generator=RNG),
        torch.zeros(n).long(),
        ("a",),
    )


def test_copies_are_found_and_nothing_else() -> None:
    one, other = make_noise(40), make_noise(60)
    other.images[17] = one.images[3]
    other.images[29] = (one.images[8].float() * 0.5 + 60).to(torch.uint8)  # paler
    duplicates = match_near_duplicates(one, torch.tensor([3, 5, 8]), other, "train", 0.5, 16)
    assert [(duplicate.map_index, duplicate.match) for duplicate in duplicates] == [
        (0, "train #17"),
        (2, "train #29"),
    ]
    assert duplicates[0].distance == pytest.approx(0, abs=1e-3) and all(
        duplicate.distance_ratio < 0.1 for duplicate in duplicates
    )


def test_similar_images_are_not_near_duplicates() -> None:
    """Twenty images that hardly differ: near to one is near to all."""
    base = torch.randint(0, 200, (1, 1, 8, 8), generator=RNG)
    images = (base + torch.randint(0, 20, (40, 1, 8, 8), generator=RNG)).to(torch.uint8)
    one = TensorImageSet(images[:20], torch.zeros(20).long(), ("a",))
    other = TensorImageSet(images[20:], torch.zeros(20).long(), ("a",))
    assert match_near_duplicates(one, torch.arange(20), other, "train", 0.5, 7) == []
    assert (
        match_near_duplicates(one, torch.arange(20), other.take(torch.arange(10)), "train", 1.0, 7)
        == []
    )  # no tenth to compare with


def test_near_duplicates_are_searched_across_splits(run: Path) -> None:
    trained = load_run(str(run))
    shown = select_images("test", None, 0, trained, None, torch.device("cpu"))
    pairs = find_near_duplicates(shown, trained, 0.6)
    assert all(duplicate.match.startswith("trainval #") for duplicate in pairs) and pairs
    named = load_split(trained, "trainval")  # where anybody would look the number up
    for duplicate in pairs:
        one, other = (
            shown.images.images[duplicate.map_index],
            named.images[int(duplicate.match.split("#")[1])],
        )
        descriptors = [
            F.normalize((x - x.float().mean()).flatten(), dim=0)
            for x in (one.float(), other.float())
        ]
        assert float((descriptors[0] - descriptors[1]).norm()) == pytest.approx(
            duplicate.distance, rel=1e-4
        )
    back = select_images("train", 100, 0, trained, None, torch.device("cpu"))
    assert all(
        duplicate.match.startswith("test #")
        for duplicate in find_near_duplicates(back, trained, 0.9)
    ) and find_near_duplicates(back, trained, 0.9)
    assert (
        find_near_duplicates(shown, trained, None) == [] == find_near_duplicates(shown, None, 0.5)
    )


@pytest.mark.data
@pytest.mark.slow
def test_cifar10_has_its_known_near_duplicates(real_data: Path) -> None:
    """Barz & Denzler (2020) list 3.25 % of the test set; of the same class, nearly all."""
    test, train = cifar10("test", root=None), cifar10("train", root=None)
    duplicates = match_near_duplicates(test, torch.arange(2000), train, "train", 0.5, 1000)
    assert 20 <= len(duplicates) <= 65
    same = [
        test.labels[duplicate.map_index] == train.labels[int(duplicate.match.split("#")[1])]
        for duplicate in duplicates
    ]
    assert sum(map(int, same)) >= 0.95 * len(same)
