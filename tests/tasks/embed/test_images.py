from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.data.sources import digits
from cnnlab.tasks.embed.images import ImageSelection, select_images
from cnnlab.tasks.trained_run import TrainedRun, load_run

CPU = torch.device("cpu")


@pytest.fixture
def trained(run: Path) -> TrainedRun:
    return load_run(str(run))


def select(
    trained: TrainedRun | None, split: str, most: int | None = None, seed: int = 0
) -> ImageSelection:
    return select_images(split, most, seed, trained, 50, CPU)


def test_split_images_are_in_order_and_named(trained: TrainedRun) -> None:
    batches = list(select(trained, "test").iterate_batches())
    real = digits("test", root=None)
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), real.images)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), real.labels)
    assert [name for batch in batches for name in batch.names] == [f"test #{i}" for i in range(360)]
    assert len(select(trained, "trainval").indices) == len(select(trained, "train").indices) + len(
        select(trained, "validation").indices
    )


def test_sample_is_reproducible_by_seed(trained: TrainedRun) -> None:
    sample, again, other = (
        select(trained, "test", 50),
        select(trained, "test", 50),
        select(trained, "test", 50, seed=1),
    )
    assert torch.equal(sample.indices, again.indices)
    assert not torch.equal(sample.indices, other.indices)
    assert len(sample.indices.unique()) == 50
    assert torch.equal(sample.indices, sample.indices.sort().values)
    (batch,) = sample.iterate_batches()
    assert torch.equal(batch.pixels, digits("test", root=None).images[sample.indices])


def test_folder_images_follow_the_test_set(trained: TrainedRun, here: Path) -> None:
    real = digits("test", root=None).images[:3, 0].numpy()
    for name, image in zip(("a.png", "3/b.png", "3/deeper/c.png"), real, strict=True):
        (here / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(here / "own" / name)
    (here / "own" / "notes.txt").write_text("not an image")
    *_, last = select(trained, "own", 20).iterate_batches()
    assert dict(zip(last.names, last.labels.tolist(), strict=True)) == {
        "a.png": -1,
        "3/b.png": 3,
        "3/deeper/c.png": 3,
    }
    assert last.indices.tolist() == [-1] * 3
    by_name = dict(zip(last.names, last.pixels[:, 0].numpy(), strict=True))
    np.testing.assert_array_equal(by_name["a.png"], real[0])
    alone = select(None, "own")
    assert [len(batch.names) for batch in alone.iterate_batches()] == [3] and alone.classes == ()
    assert next(alone.iterate_batches()).pixels.shape == (3, 3, 256, 256)


def test_folder_images_have_the_classes_that_training_reads(here: Path) -> None:
    for name in ("train/cat/deep/a.png", "train/dog/b.png", "test/cat/c.png"):
        (here / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(here / "own" / name)
    alone = select(None, "own")
    assert alone.classes == ("cat", "dog")
    (batch,) = alone.iterate_batches()
    assert dict(zip(batch.names, batch.labels.tolist(), strict=True)) == {
        "test/cat/c.png": 0,
        "train/cat/deep/a.png": 0,
        "train/dog/b.png": 1,
    }


def test_folder_that_is_a_class_itself_labels_its_images(trained: TrainedRun, here: Path) -> None:
    (here / "own" / "3" / "deep").mkdir(parents=True)
    Image.new("L", (8, 8)).save(here / "own" / "3" / "deep" / "a.png")
    *_, last = select(trained, "own/3", 20).iterate_batches()
    assert last.labels.tolist() == [3]


def test_unknown_split_and_unreadable_files_are_refused(trained: TrainedRun, here: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"no folder tst, and split 'tst' is not one of test.*did you mean test",
    ):
        select(trained, "tst")
    (here / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty contains no images"):
        list(select(trained, "empty").iterate_batches())
    for name in ("x.png", "y.png"):
        (here / "empty" / name).write_text("not an image")
    with pytest.raises(CnnlabError, match=r"x\.png is not a(.|\n)*y\.png is not a"):
        list(select(trained, "empty").iterate_batches())
