import hashlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.data import sources
from cnnlab.data.pictures import Split, hold_out
from cnnlab.data.sources import ArraysOnly, cifar10, cifar_batch, data_root, digits, idx, mnist


def test_digits_are_scikit_learns() -> None:
    train, test = digits("train", root=None), digits("test", root=None)
    theirs = load_digits()
    ours = torch.cat((train.images, test.images)).squeeze(1).numpy()
    assert np.array_equal(np.rint(ours * (16 / 255)), theirs.images)
    assert torch.cat((train.labels, test.labels)).tolist() == theirs.target.tolist()
    assert (len(train), len(test), train.shape) == (1437, 360, (1, 8, 8))
    assert train.images.dtype == torch.uint8 and train.images.max() == 255


def test_the_mean_and_deviation_in_the_configuration_are_the_digits() -> None:
    from cnnlab.config import compose

    config, pixels = compose("train", [])["dataset"], digits("train", root=None).images.double() / 255
    assert config["mean"] == pytest.approx([float(pixels.mean())], abs=5e-5)
    assert config["std"] == pytest.approx([float(pixels.std())], abs=5e-5)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def test_idx_files_are_read_and_damage_is_named(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "x-ubyte"
    write_idx(path, array)
    assert np.array_equal(idx(path, (2, 3, 4)).numpy(), array)
    for blob in (path.read_bytes()[:-1], b"", pickle.dumps(array)):
        path.write_bytes(blob)
        with pytest.raises(CnnlabError, match="x-ubyte is damaged"):
            idx(path, (2, 3, 4))


class Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the canary sang')",))


def test_a_cifar_batch_with_a_callable_in_it_does_not_run(tmp_path: Path) -> None:
    blob = pickle.dumps({"data": Canary()})
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.exec has no place"):
        ArraysOnly(io.BytesIO(blob), encoding="latin1").load()
    (tmp_path / "test_batch").write_bytes(blob)
    with pytest.raises(CnnlabError, match="md5 differs"):
        cifar_batch(tmp_path / "test_batch", "40351d587109b95175f43aff81a1287e")


def test_a_batch_of_arrays_is_read(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    blob = pickle.dumps({"data": array, "labels": [1, 2]}, protocol=3)
    blob = blob.replace(b"numpy._core", b"numpy.core")  # as the official files name it
    (tmp_path / "b").write_bytes(blob)
    read = cifar_batch(tmp_path / "b", hashlib.md5(blob).hexdigest())
    assert np.array_equal(read["data"], array) and read["labels"] == [1, 2]


def test_where_data_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_DATA", "/data")
    assert data_root(None) == Path("/data") and data_root("/other") == Path("/other")
    monkeypatch.delenv("CNNLAB_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root(None) == Path("/cache/cnnlab/data")


def test_offline_the_error_says_which_files_belong_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.MNIST", offline)
    with pytest.raises(CnnlabError) as error:
        mnist("test", root=str(tmp_path))
    assert "t10k-images-idx3-ubyte" in str(error.value) and str(tmp_path / "MNIST" / "raw") in str(error.value)
    assert len(str(error.value).splitlines()) == 2


def test_held_out_pictures_are_no_longer_trained_on() -> None:
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


@pytest.mark.data
@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_and_cifar10_are_torchvisions(real_data: Path, split: Split) -> None:
    import torchvision

    theirs = torchvision.datasets.MNIST(str(real_data), train=split == "train")
    ours = mnist(split, root=str(real_data))
    assert torch.equal(ours.images.squeeze(1), theirs.data) and torch.equal(ours.labels, theirs.targets)
    theirs = torchvision.datasets.CIFAR10(str(real_data), train=split == "train")
    ours = cifar10(split, root=str(real_data))
    assert np.array_equal(ours.images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert ours.labels.tolist() == theirs.targets and list(ours.classes) == theirs.classes


@pytest.mark.data
@pytest.mark.parametrize(("name", "read"), [("mnist", mnist), ("cifar10", cifar10)])
def test_the_mean_and_deviation_in_the_configuration_are_the_datas(real_data: Path, name: str, read: object) -> None:
    from cnnlab.config import compose

    config = compose("train", [f"dataset={name}"])["dataset"]
    pixels = sources.SOURCES[name]("train", root=str(real_data)).images.double() / 255
    assert config["mean"] == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert config["std"] == pytest.approx(pixels.std((0, 2, 3)).tolist(), abs=1e-4)
