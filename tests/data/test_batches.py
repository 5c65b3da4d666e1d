import pytest
import torch

from cnnlab.data.augment import Pipeline
from cnnlab.data.batches import TrainingBatches, iterate_in_order
from cnnlab.data.dataset import TensorImageSet
from cnnlab.data.sources import digits

DATA = digits("train", root=None)
PLAIN = Pipeline({}, "augment.eval")
SHIFT = {"shift": {"px": 2}}
SHIFTED = Pipeline(SHIFT, "augment.train")


def make_numbered_images(n: int) -> TensorImageSet:
    """Return images whose labels are their indices."""
    return TensorImageSet(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.arange(n), ("x",))


def test_epoch_has_each_image_at_most_once_in_new_order() -> None:
    batches = TrainingBatches(make_numbered_images(103), PLAIN, batch_size=10, seed=1)
    first, second = (
        torch.cat([labels for _, labels in batches.iterate_epoch(e)]).tolist() for e in (0, 1)
    )
    assert len(batches) == 10 and len(first) == 100 == len(set(first))
    assert first != second and first != sorted(first)
    assert first == torch.cat([labels for _, labels in batches.iterate_epoch(0)]).tolist()


def test_epoch_from_start_has_same_batches() -> None:
    batches = TrainingBatches(DATA, SHIFTED, batch_size=100, seed=2)
    whole = list(batches.iterate_epoch(3))
    late = list(batches.iterate_epoch(3, start=9))
    assert len(late) == len(whole) - 9
    for batch, expected in zip(late, whole[9:], strict=True):
        assert torch.equal(batch[0], expected[0]) and torch.equal(batch[1], expected[1])


def test_get_batch_indices_matches_batches() -> None:
    batches = TrainingBatches(make_numbered_images(50), PLAIN, batch_size=10, seed=1)
    seen = [labels.tolist() for epoch in (0, 1) for _, labels in batches.iterate_epoch(epoch)]
    assert [batches.get_batch_indices(step) for step in range(10)] == seen


def test_batch_size_is_limited_to_data_set() -> None:
    batches = TrainingBatches(make_numbered_images(7), PLAIN, batch_size=100, seed=1)
    assert len(batches) == 1 and len(next(batches.iterate_epoch(0))[1]) == 7


def test_iterate_in_order_yields_all_images_in_order() -> None:
    batches = list(iterate_in_order(DATA, PLAIN, batch_size=100))
    assert torch.equal(torch.cat([labels for _, labels in batches]), DATA.labels)
    assert torch.equal(torch.cat([images for images, _ in batches]), DATA.images.float() / 255)
    assert len(batches[-1][1]) == 37


def test_mixed_batches_have_label_shares_and_same_batches_from_start() -> None:
    mixing = Pipeline({"mixup": {"alpha": 0.4}, "cutmix": {"alpha": 1.0}}, "augment.train")
    batches = TrainingBatches(DATA, mixing, batch_size=100, seed=2)
    whole, ((late, late_shares),) = (
        list(batches.iterate_epoch(0)),
        batches.iterate_epoch(0, start=len(batches) - 1),
    )
    images, shares = whole[-1]
    assert torch.equal(late, images) and torch.equal(late_shares, shares)
    torch.testing.assert_close(shares.sum(1), torch.ones(100))
    totals = torch.cat([shares for _, shares in whole]).sum(0)
    counts = DATA.labels[batches.shuffle_epoch(0)].bincount()
    # The shares of a class add up to about the number of its images.
    assert (totals - counts).abs().max() < 1e-2 * len(DATA)


@pytest.mark.parametrize("start", [0, 5])
def test_batches_of_a_group_equal_batches_one_by_one(start: int) -> None:
    """Bit for bit, with means over the pixels of an image and pairs within a batch."""
    spec = {"contrast": {"lower": 0.2, "upper": 1.8}, "mixup": {"alpha": 0.4}, "whiten": {}}
    pipeline = Pipeline(SHIFT | spec, "augment.train")
    grouped, single = (TrainingBatches(DATA, pipeline, batch_size=100, seed=2) for _ in range(2))
    grouped.batches_per_group, single.batches_per_group = 4, 1
    pairs = zip(grouped.iterate_epoch(1, start), single.iterate_epoch(1, start), strict=True)
    for (images, shares), (expected_images, expected_shares) in pairs:
        assert torch.equal(images, expected_images) and torch.equal(shares, expected_shares)


def test_augmentation_is_independent_of_batch_size() -> None:
    image_set = TensorImageSet(DATA.images, torch.arange(len(DATA)), DATA.classes)
    pipeline = Pipeline(
        {"shift": {"px": 2}, "brightness": {"levels": 63}, "alternating_flip": {}}, "augment.train"
    )
    for epoch in (4, 5):
        small, large = (
            {
                int(n): x
                for xs, ns in TrainingBatches(
                    image_set, pipeline, batch_size=size, seed=3
                ).iterate_epoch(epoch, start=1)
                for x, n in zip(xs, ns, strict=True)
            }
            for size in (33, 100)
        )
        shared = small.keys() & large.keys()
        assert len(shared) > 1000 and all(torch.equal(small[n], large[n]) for n in shared)
