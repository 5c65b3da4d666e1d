"""Read data sets by name as uint8 images. No file read here can run code."""

import csv
import gzip
import hashlib
import io
import itertools
import os
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from cnnlab.core.download import CorruptDownload, fetch
from cnnlab.core.errors import CnnlabError, DataUnavailable, WriteFailed, summarize_error
from cnnlab.core.files import expand_home, get_cache_folder, read_bytes, write_atomically
from cnnlab.core.image import read_image
from cnnlab.core.keys import Key
from cnnlab.data.dataset import ImageSet, Split, TensorImageSet
from cnnlab.data.folder_index import index_folder
from cnnlab.data.image_folder import check_image_size, image_folder

MAX_UNPACKED_BYTES = 60_000_000  # MNIST's largest file has 47 million
DIGITS_TEST_SIZE = 360  # the last fifth of scikit-learn's 1,797, in the file's order
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 60_000),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 10_000),
}
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
MNIST_URLS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
CIFAR10_URLS = ("https://www.cs.toronto.edu/~kriz",)
CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR10_FILES = {  # name -> md5, as published
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
DIGIT_CLASSES = tuple("0123456789")
SAMPLE_PHOTOS = ("china", "flower")
SQUARE_STEP = 32  # pixels between the starts of two squares of a photograph

# Where the files of a published data set are does not change what the data set is.
Root = Annotated[str | None, Key("the folder of the files; null: CNNLAB_DATA", compared=False)]


def get_data_root(root: str | None) -> Path:
    """Return `root`, else CNNLAB_DATA, else the user's cache folder."""
    folder = root or os.environ.get("CNNLAB_DATA") or get_cache_folder() / "data"
    return expand_home(folder)


def digits(split: Split, *, root: Root) -> TensorImageSet:
    """Return scikit-learn's bundled 1,797 handwritten digits of 8x8 pixels and 17 gray levels
    (Alpaydin & Kaynak 1998).

    The last 360 in the file's order are the test set. The file is read directly: importing
    scikit-learn's loader takes over a second. `root` is not used.
    """
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise CnnlabError(
            "the digits come with scikit-learn, which is not installed: pip install scikit-learn"
        )
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        table = np.array(list(csv.reader(file)), dtype=np.float32)
    table = table[:-DIGITS_TEST_SIZE] if split == "train" else table[-DIGITS_TEST_SIZE:]
    grays = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return TensorImageSet(
        torch.from_numpy(grays), torch.from_numpy(table[:, 64].astype(np.int64)), DIGIT_CLASSES
    )


def mnist(split: Split, *, root: Root) -> TensorImageSet:
    """Return MNIST's 70,000 handwritten digits of 28x28 pixels (LeCun et al. 1998), from
    `root`/MNIST/raw, to which they are downloaded."""
    images, labels, count = MNIST_FILES[split]
    folder = get_data_root(root) / "MNIST" / "raw"
    with explain_missing_files("MNIST", folder, MNIST_MD5):
        for name in (images, labels):
            if not (folder / name).exists():
                unpack = partial(unpack_mnist, target=folder / name)
                fetch(f"{name}.gz", MNIST_URLS, folder, [name], unpack, max_bytes=12_000_000)
    x = read_idx(folder / images, (count, 28, 28))
    return TensorImageSet(x.unsqueeze(1), read_idx(folder / labels, (count,)).long(), DIGIT_CLASSES)


def read_data_file(path: Path) -> bytes:
    """Return a data set's file. Raises CnnlabError for what cannot be read or is too large."""
    try:
        return read_bytes(path, MAX_UNPACKED_BYTES)
    except OSError as error:
        raise CnnlabError(f"{path} cannot be read: {summarize_error(error)}") from error


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Return an idx file as a uint8 tensor of the expected shape. Raises CnnlabError for another
    file."""
    blob = read_data_file(path)
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
    if not blob.startswith(header) or len(blob) != len(header) + int(np.prod(shape)):
        problem = f"is damaged or not MNIST's ({len(blob):,} bytes)"
        raise CnnlabError(f"{path} {problem}; remove it to download it again")
    return torch.from_numpy(np.frombuffer(blob, np.uint8, offset=len(header)).reshape(shape).copy())


def cifar10(split: Split, *, root: Root) -> TensorImageSet:
    """Return CIFAR-10's 60,000 natural images of 32x32 pixels in ten classes (Krizhevsky 2009),
    from `root`/cifar-10-batches-py, to which they are downloaded. Each batch's MD5 is verified
    before it is unpickled."""
    folder = get_data_root(root) / "cifar-10-batches-py"
    names = [name for name in CIFAR10_FILES if (name == "test_batch") == (split == "test")]
    if not all((folder / name).exists() for name in names):
        with explain_missing_files("CIFAR-10", folder, CIFAR10_FILES):
            unpack = partial(unpack_cifar10, folder=folder)
            fetch(
                CIFAR10_ARCHIVE,
                CIFAR10_URLS,
                folder,
                names,
                unpack,
                max_bytes=180_000_000,
                known_hash=f"md5:{CIFAR10_ARCHIVE_MD5}",
            )
    batches = [read_cifar_batch(folder / name, CIFAR10_FILES[name]) for name in names]
    images = np.concatenate([np.asarray(batch["data"]).reshape(-1, 3, 32, 32) for batch in batches])
    labels = [label for batch in batches for label in batch["labels"]]
    return TensorImageSet(torch.from_numpy(images), torch.tensor(labels), CIFAR10_CLASSES)


def read_cifar_batch(path: Path, md5: str) -> dict[str, Any]:
    """Return an official batch. Raises CnnlabError if its checksum is not the published one."""
    blob = read_data_file(path)
    if hashlib.md5(blob).hexdigest() != md5:
        problem = "is damaged or not CIFAR-10's (md5 differs)"
        raise CnnlabError(f"{path} {problem}; remove it to download it again")
    return RestrictedUnpickler(io.BytesIO(blob), encoding="latin1").load()


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickle numpy arrays of plain types, as in the official batches, and nothing executable."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a CIFAR-10 batch")


def unpack_mnist(path: Path, *, target: Path) -> None:
    """Decompress one of MNIST's files to `target`. Raises CorruptDownload if it is not the
    published one."""
    try:
        with gzip.open(path) as file:
            blob = file.read(MAX_UNPACKED_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptDownload(summarize_error(error)) from error
    write_verified(blob, MNIST_MD5[target.name], target)


def unpack_cifar10(path: Path, *, folder: Path) -> None:
    """Extract only CIFAR-10's batches into `folder`; member paths are not used."""
    with tarfile.open(path) as archive:
        for name, md5 in CIFAR10_FILES.items():
            member = archive.extractfile(f"cifar-10-batches-py/{name}")
            write_verified(member.read() if member else b"", md5, folder / name)


def write_verified(blob: bytes, md5: str, target: Path) -> None:
    """Write a file of the published checksum. Raises CorruptDownload for another one."""
    if hashlib.md5(blob).hexdigest() != md5:
        raise CorruptDownload("its checksum is not the published one")
    write_atomically(target, lambda part: part.write_bytes(blob))


@contextmanager
def explain_missing_files(name: str, folder: Path, files: Iterable[str]) -> Iterator[None]:
    """Add to a download's error which files to put where. Raises DataUnavailable."""
    try:
        yield
    except WriteFailed:
        raise
    except CnnlabError as error:
        raise DataUnavailable(
            f"{name} cannot be downloaded ({error}); put {', '.join(files)} into {folder}, "
            f"or set CNNLAB_DATA to the folder that has this layout"
        ) from error


def sample_photos(split: Split, *, root: Root, size: int) -> TensorImageSet:
    """Return squares of `size` pixels of scikit-learn's two photographs, a temple and a flower.

    One begins every 32 pixels, so they overlap, and both splits are the same squares: they are for
    style networks, which learn no class. `root` is not used. Raises ValueError for a size that the
    photographs do not have.
    """
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise CnnlabError(
            "the photographs come with scikit-learn, which is not installed: "
            "pip install scikit-learn"
        )
    folder = Path(package.submodule_search_locations[0]) / "datasets" / "images"
    photos = [np.asarray(read_image(folder / f"{name}.jpg")) for name in SAMPLE_PHOTOS]
    height = min(photo.shape[0] for photo in photos)
    if not 1 <= size <= height:
        raise ValueError(f"size must be between 1 and {height}, not {size}")
    squares, labels = list[np.ndarray](), list[int]()
    for label, photo in enumerate(photos):
        starts = (range(0, side - size + 1, SQUARE_STEP) for side in photo.shape[:2])
        corners = list(itertools.product(*starts))
        squares += [photo[top : top + size, left : left + size] for top, left in corners]
        labels += [label] * len(corners)
    images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()
    return TensorImageSet(images, torch.tensor(labels), SAMPLE_PHOTOS)


SOURCES: dict[str, Callable[..., ImageSet]] = {
    "cifar10": cifar10,
    "digits": digits,
    "folder": image_folder,
    "mnist": mnist,
    "sample_photos": sample_photos,
}
DATASET_SHAPES = {  # (depth, height, width), and how many classes
    "cifar10": ((3, 32, 32), len(CIFAR10_CLASSES)),
    "digits": ((1, 8, 8), len(DIGIT_CLASSES)),
    "mnist": ((1, 28, 28), len(DIGIT_CLASSES)),
}
NUM_IMAGENET_CLASSES = 1000


def get_dataset_shape(name: str, spec: Mapping[str, Any]) -> tuple[tuple[int, int, int], int]:
    """Return (depth, height, width) and the number of classes of a data set without reading images.
    A folder without a root has as many classes as ImageNet.

    `spec`: the source's keys. Raises ValueError, or UsageError for a folder without classes."""
    if name in DATASET_SHAPES:
        return DATASET_SHAPES[name]
    if name == "sample_photos":
        return (3, spec["size"], spec["size"]), len(SAMPLE_PHOTOS)
    check_image_size(spec["size"], spec["depth"])
    classes = (
        len(index_folder(spec["root"], spec["max_images"], spec["layout"]).classes)
        if spec["root"]
        else NUM_IMAGENET_CLASSES
    )
    return (spec["depth"], spec["size"], spec["size"]), classes
