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


def of(
    trained: TrainedRun | None, split: str, most: int | None = None, seed: int = 0
) -> ImageSelection:
    return select_images(split, most, seed, trained, 50, CPU)


def test_a_splits_pictures_come_in_order_under_their_numbers(trained: TrainedRun) -> None:
    batches = list(of(trained, "test").iterate_batches())
    real = digits("test", root=None)
    assert torch.equal(torch.cat([one.pixels for one in batches]), real.images)
    assert torch.equal(torch.cat([one.labels for one in batches]), real.labels)
    assert [name for one in batches for name in one.names] == [f"test #{i}" for i in range(360)]
    assert len(of(trained, "trainval").indices) == len(of(trained, "train").indices) + len(
        of(trained, "validation").indices
    )


def test_some_are_drawn_by_the_seed(trained: TrainedRun) -> None:
    one, again, other = (
        of(trained, "test", 50),
        of(trained, "test", 50),
        of(trained, "test", 50, seed=1),
    )
    assert torch.equal(one.indices, again.indices) and not torch.equal(one.indices, other.indices)
    assert len(one.indices.unique()) == 50 and torch.equal(one.indices, one.indices.sort().values)
    (batch,) = one.iterate_batches()
    assert torch.equal(batch.pixels, digits("test", root=None).images[one.indices])


def test_a_folders_pictures_come_after_the_known_ones(trained: TrainedRun, here: Path) -> None:
    real = digits("test", root=None).images[:3, 0].numpy()
    for name, picture in zip(("a.png", "3/b.png", "3/deeper/c.png"), real, strict=True):
        (here / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(here / "own" / name)
    (here / "own" / "notes.txt").write_text("no picture")
    *_, last = of(trained, "own", 20).iterate_batches()
    assert dict(zip(last.names, last.labels.tolist(), strict=True)) == {
        "a.png": -1,
        "3/b.png": 3,
        "3/deeper/c.png": -1,
    }
    assert last.indices.tolist() == [-1] * 3
    by_name = dict(zip(last.names, last.pixels[:, 0].numpy(), strict=True))
    np.testing.assert_array_equal(by_name["a.png"], real[0])
    alone = of(None, "own")
    assert [len(one.names) for one in alone.iterate_batches()] == [3] and alone.classes == (
        "3",
        "deeper",
        "own",
    )
    assert next(alone.iterate_batches()).pixels.shape == (3, 3, 256, 256)


def test_what_is_neither_split_nor_folder_nor_readable_is_told(
    trained: TrainedRun, here: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"no folder tst, and split 'tst' is not one of test.*did you mean test"
    ):
        of(trained, "tst")
    (here / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty holds no pictures"):
        list(of(trained, "empty").iterate_batches())
    for name in ("x.png", "y.png"):
        (here / "empty" / name).write_text("no picture")
    with pytest.raises(CnnlabError, match=r"x\.png is not a picture(.|\n)*y\.png is not a picture"):
        list(of(trained, "empty").iterate_batches())
