from types import SimpleNamespace
from typing import Any

import torch

from cnnlab.tasks.embed.summary import format_map_caption, format_map_headline, list_map_facts


def drawn(name: str, labels: list[int], **further: Any) -> Any:
    """A map of so many pictures, of which half are among their own class."""
    numbers = {"neighbours": 10, "neighbours_kept": 0.5, "trustworthiness": 0.9, "features_shared": 0.1,
               "map_shared": 0.2, "map": {"knn_accuracy": 0.5, "silhouette": None},
               "features": {"knn_accuracy": 0.6, "silhouette": None}} | further  # fmt: skip
    seen = Seen(labels=torch.tensor(labels), x=torch.zeros(len(labels), 3))
    return SimpleNamespace(name=name, where="what goes into output", numbers=numbers, seen=seen)


class Seen(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.labels)


def test_pictures_without_a_class_are_not_counted_as_scored() -> None:
    one, other = drawn("one", [0, 1, 0, 1]), drawn("other", [0, 1, 0, 1])
    assert format_map_headline([one]) == "50.00% of 4 pictures lie among their own class on the map"
    assert (
        format_map_headline([one, other])
        == "Among their own class on the map, of 4 pictures: one 50.00%, other 50.00%"
    )
    some = drawn("one", [0, 1, -1, -1])
    assert (
        format_map_headline([some])
        == "50.00% of 2 pictures whose class is known lie among their own class on the map"
    )


def test_only_t_sne_begins_somewhere() -> None:
    plain, steps = drawn("one", [0, 1]), drawn("two", [0, 1], kl=1.0)
    assert format_map_caption(plain, drawn("two", [0, 1])).startswith(
        "two's map is laid over one's; of 10 nearest 10.0% are"
    )
    assert format_map_caption(plain, steps).startswith(
        "two's map began where one's ended and is laid over it; of 10 nearest"
    )


def test_a_page_of_two_maps_says_whose_answers_it_shows() -> None:
    one, other = drawn("one", [0, 1]), drawn("two", [0, 1])
    said = "Predictions, neighbours and numbers are one's, on every map"
    assert said in list_map_facts(one, other) and said not in list_map_facts(one)
