from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cnnlab.data.dataset import Pictures
from cnnlab.data.sources import cifar10
from cnnlab.tasks.embed.images import scene
from cnnlab.tasks.embed.near_duplicates import doubles, twins
from cnnlab.tasks.trained_run import load_run, split_of

RNG = torch.Generator().manual_seed(0)


def noise(n: int) -> Pictures:
    return Pictures(
        torch.randint(0, 256, (n, 3, 20, 20), dtype=torch.uint8, generator=RNG), torch.zeros(n).long(), ("a",)
    )


def test_what_is_hidden_is_found_and_nothing_else() -> None:
    one, other = noise(40), noise(60)
    other.images[17] = one.images[3]
    other.images[29] = (one.images[8].float() * 0.5 + 60).to(torch.uint8)  # paler
    found = twins(one, torch.tensor([3, 5, 8]), other, "train", 0.5, 16)
    assert [(twin.place, twin.name) for twin in found] == [(0, "train #17"), (2, "train #29")]
    assert found[0].distance == pytest.approx(0, abs=1e-3) and all(twin.share < 0.1 for twin in found)


def test_what_all_resemble_is_no_twin() -> None:
    """Twenty pictures that hardly differ: near to one is near to all."""
    base = torch.randint(0, 200, (1, 1, 8, 8), generator=RNG)
    images = (base + torch.randint(0, 20, (40, 1, 8, 8), generator=RNG)).to(torch.uint8)
    one = Pictures(images[:20], torch.zeros(20).long(), ("a",))
    other = Pictures(images[20:], torch.zeros(20).long(), ("a",))
    assert twins(one, torch.arange(20), other, "train", 0.5, 7) == []
    assert twins(one, torch.arange(20), other.take(torch.arange(10)), "train", 1.0, 7) == []  # no tenth to compare with


def test_they_are_looked_for_on_the_other_side(run: Path) -> None:
    trained = load_run(str(run))
    shown = scene("test", None, 0, trained, None, torch.device("cpu"))
    pairs = doubles(shown, trained, 0.6)
    assert all(twin.name.startswith("trainval #") for twin in pairs) and pairs
    named = split_of(trained, "trainval")  # where anybody would look the number up
    for twin in pairs:
        one, other = shown.pictures.images[twin.place], named.images[int(twin.name.split("#")[1])]
        looks = [F.normalize((x - x.float().mean()).flatten(), dim=0) for x in (one.float(), other.float())]
        assert float((looks[0] - looks[1]).norm()) == pytest.approx(twin.distance, rel=1e-4)
    back = scene("train", 100, 0, trained, None, torch.device("cpu"))
    assert all(twin.name.startswith("test #") for twin in doubles(back, trained, 0.9)) and doubles(back, trained, 0.9)
    assert doubles(shown, trained, None) == [] == doubles(shown, None, 0.5)


@pytest.mark.data
def test_cifar_has_those_that_are_known_to_be_there(real_data: Path) -> None:
    """Barz & Denzler (2020) list 3.25 % of the test set; of the same class, nearly all."""
    test, train = cifar10("test", root=None), cifar10("train", root=None)
    found = twins(test, torch.arange(2000), train, "train", 0.5, 1000)
    assert 20 <= len(found) <= 65
    same = [test.labels[twin.place] == train.labels[int(twin.name.split("#")[1])] for twin in found]
    assert sum(map(int, same)) >= 0.95 * len(same)
