import gzip
import hashlib
import io
import os
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from cnnlab.core.errors import CnnlabError
from cnnlab.data import sources
from cnnlab.data.dataset import Split
from cnnlab.data.sources import (
    DATASET_SHAPES,
    SOURCES,
    RestrictedUnpickler,
    cifar10,
    digits,
    get_data_root,
    get_dataset_shape,
    mnist,
    read_cifar_batch,
    read_idx,
)


def test_digits_match_scikit_learn() -> None:
    train, test = digits("train", root=None), digits("test", root=None)
    expected = load_digits()
    images = torch.cat((train.images, test.images)).squeeze(1).numpy()
    assert np.array_equal(np.rint(images * (16 / 255)), expected.images)
    assert torch.cat((train.labels, test.labels)).tolist() == expected.target.tolist()
    assert (len(train), len(test), train.shape) == (1437, 360, (1, 8, 8))
    assert train.images.dtype == torch.uint8 and train.images.max() == 255


def test_configured_mean_and_std_of_digits() -> None:
    from cnnlab.config import compose

    config, pixels = (
        compose("train", [])["dataset"],
        digits("train", root=None).images.double() / 255,
    )
    assert config["mean"] == pytest.approx([float(pixels.mean())], abs=5e-5)
    assert config["std"] == pytest.approx([float(pixels.std())], abs=5e-5)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(
        bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    )


def test_read_idx_and_damaged_files(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "x-ubyte"
    write_idx(path, array)
    assert np.array_equal(read_idx(path, (2, 3, 4)).numpy(), array)
    for blob in (path.read_bytes()[:-1], b"", pickle.dumps(array)):
        path.write_bytes(blob)
        with pytest.raises(CnnlabError, match="x-ubyte is damaged"):
            read_idx(path, (2, 3, 4))


class Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('executed')",))


def test_pickled_callable_in_cifar_batch_is_not_executed(tmp_path: Path) -> None:
    blob = pickle.dumps({"data": Canary()})
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.exec is not allowed"):
        RestrictedUnpickler(io.BytesIO(blob), encoding="latin1").load()
    (tmp_path / "test_batch").write_bytes(blob)
    with pytest.raises(CnnlabError, match="md5 differs"):
        read_cifar_batch(tmp_path / "test_batch", "40351d587109b95175f43aff81a1287e")


def test_device_in_place_of_a_data_file_is_not_read(tmp_path: Path) -> None:
    """Of /dev/zero all memory was filled, and a pipe was waited for."""
    (tmp_path / "device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("device", "pipe"):
        with pytest.raises(CnnlabError, match=f"{name} cannot be read: it is not a regular file"):
            read_idx(tmp_path / name, (2, 3, 4))
        with pytest.raises(CnnlabError, match=f"{name} cannot be read: it is not a regular file"):
            read_cifar_batch(tmp_path / name, "40351d587109b95175f43aff81a1287e")


def test_read_cifar_batch(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    blob = pickle.dumps({"data": array, "labels": [1, 2]}, protocol=3)
    blob = blob.replace(b"numpy._core", b"numpy.core")  # as the official files name it
    (tmp_path / "b").write_bytes(blob)
    read = read_cifar_batch(tmp_path / "b", hashlib.md5(blob).hexdigest())
    assert np.array_equal(read["data"], array) and read["labels"] == [1, 2]


def test_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_DATA", "/data")
    assert get_data_root(None) == Path("/data") and get_data_root("/other") == Path("/other")
    monkeypatch.delenv("CNNLAB_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert get_data_root(None) == Path("/cache/cnnlab/data")


@pytest.mark.parametrize(
    ("read", "name", "place"),
    [
        (mnist, "t10k-images-idx3-ubyte", "MNIST/raw"),
        (cifar10, "test_batch", "cifar-10-batches-py"),
    ],
)
def test_offline_error_names_files_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any, name: str, place: str
) -> None:
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    with pytest.raises(CnnlabError) as error:
        read("test", root=str(tmp_path))
    message = str(error.value)
    assert (
        name in message and f"into {tmp_path / place}" in message and len(message.splitlines()) == 1
    )


def list_files(folder: Path) -> list[str]:
    """Return the names of the visible files in a folder."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder on localhost as the mirror."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("CNNLAB_MIRROR", f"http://127.0.0.1:{server.server_port}")
    yield folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def mirror_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the other download addresses."""
    monkeypatch.setattr(sources, "MNIST_URLS", ())
    monkeypatch.setattr(sources, "CIFAR10_URLS", ())


@pytest.mark.usefixtures("mirror_only")
def test_cifar10_extracts_only_verified_batches(
    tmp_path: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = {name: name.encode() for name in sources.CIFAR10_FILES}
    with tarfile.open(served / sources.CIFAR10_ARCHIVE, "w:gz") as archive:
        for name, blob in {
            **{f"cifar-10-batches-py/{k}": v for k, v in blobs.items()},
            "../evil": b"x",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(blob)
            archive.addfile(member, io.BytesIO(blob))
    with pytest.raises(CnnlabError, match=r"127\.0\.0\.1: MD5 hash of downloaded file"):
        cifar10("test", root=str(tmp_path))
    right = hashlib.md5((served / sources.CIFAR10_ARCHIVE).read_bytes()).hexdigest()
    monkeypatch.setattr(sources, "CIFAR10_ARCHIVE_MD5", right)
    with pytest.raises(CnnlabError, match="its checksum is not the published one"):
        cifar10("test", root=str(tmp_path))
    assert list_files(tmp_path / "cifar-10-batches-py") == []
    for name, blob in blobs.items():
        monkeypatch.setitem(sources.CIFAR10_FILES, name, hashlib.md5(blob).hexdigest())
    with pytest.raises(pickle.UnpicklingError):  # extracted, then not readable as a pickle
        cifar10("test", root=str(tmp_path))
    folder = tmp_path / "cifar-10-batches-py"
    assert {name: (folder / name).read_bytes() for name in list_files(folder)} == blobs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar-10-batches-py", "served"]


@pytest.mark.usefixtures("mirror_only")
@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"no gzip",
        gzip.compress(b"other digits", mtime=0),
        gzip.compress(bytes(1000), mtime=0)[:-9],
    ],
)
def test_invalid_mnist_archive_raises_one_line_error(
    tmp_path: Path, served: Path, blob: bytes
) -> None:
    (served / "t10k-images-idx3-ubyte.gz").write_bytes(blob)
    with pytest.raises(CnnlabError, match="MNIST cannot be downloaded") as error:
        mnist("test", root=str(tmp_path))
    assert len(str(error.value).splitlines()) == 1
    assert list_files(tmp_path / "MNIST" / "raw") == []


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.usefixtures("mirror_only")
def test_mnist_download(real_data: Path, tmp_path: Path, served: Path) -> None:
    for name in sources.MNIST_MD5:
        blob = (real_data / "MNIST" / "raw" / name).read_bytes()
        (served / f"{name}.gz").write_bytes(gzip.compress(blob, 1, mtime=0))
    for split in ("train", "test"):
        downloaded, original = (mnist(split, root=str(root)) for root in (tmp_path, real_data))  # type: ignore[arg-type]
        assert torch.equal(downloaded.images, original.images)
        assert torch.equal(downloaded.labels, original.labels)
    assert set(list_files(tmp_path / "MNIST" / "raw")) == set(sources.MNIST_MD5)


@pytest.mark.data
@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "test"])
def test_mnist_and_cifar10_match_torchvision(real_data: Path, split: Split) -> None:
    import torchvision

    expected = torchvision.datasets.MNIST(str(real_data), train=split == "train")
    image_set = mnist(split, root=str(real_data))
    assert torch.equal(image_set.images.squeeze(1), expected.data)
    assert torch.equal(image_set.labels, expected.targets)
    expected = torchvision.datasets.CIFAR10(str(real_data), train=split == "train")
    image_set = cifar10(split, root=str(real_data))
    assert np.array_equal(image_set.images.permute(0, 2, 3, 1).numpy(), expected.data)
    assert image_set.labels.tolist() == expected.targets
    assert list(image_set.classes) == expected.classes


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "read"),
    [("mnist", mnist), pytest.param("cifar10", cifar10, marks=pytest.mark.slow)],
)
def test_configured_mean_and_std_of_real_data(real_data: Path, name: str, read: object) -> None:
    from cnnlab.config import compose

    config = compose("train", [f"dataset={name}"])["dataset"]
    pixels = sources.SOURCES[name]("train", root=str(real_data)).images.double() / 255
    assert config["mean"] == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert config["std"] == pytest.approx(pixels.std((0, 2, 3)).tolist(), abs=1e-4)


def test_get_dataset_shape_without_data(real_data: Path) -> None:
    for name in DATASET_SHAPES:
        image_set = SOURCES[name]("test", root=str(real_data))
        assert get_dataset_shape(name, {}) == (
            (*image_set.images.shape[1:],),
            len(image_set.classes),
        )
    spec = {"size": 20, "depth": 1, "root": None, "max_images": 9, "layout": "auto"}
    assert get_dataset_shape("folder", spec) == ((1, 20, 20), 1000)
    with pytest.raises(ValueError, match="size must be at least 1"):
        get_dataset_shape("folder", spec | {"size": 0})
