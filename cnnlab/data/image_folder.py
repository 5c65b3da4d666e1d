"""A user's own pictures: `root/class/picture.jpg`, decoded ahead by workers as they are needed."""

import hashlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import read_json, write_json
from cnnlab.core.progress import Progress
from cnnlab.core.quoting import printable
from cnnlab.data.dataset import Split, random_split
from cnnlab.data.decode import CheckDataset, DecodeDataset, ImageDecoder, decode_batches
from cnnlab.data.folder_index import FolderIndex, get_file_size, index_folder

CHECK_BATCH_SIZE = 64  # pictures, while they are looked through


warnings.filterwarnings(
    "ignore", message="This DataLoader will create"
)  # more workers than cores: the user's choice


@dataclass(frozen=True)
class FolderImageSet:
    """Labelled picture files: a `PictureSet`."""

    paths: tuple[str, ...]
    labels: Tensor
    classes: tuple[str, ...]
    decoder: ImageDecoder
    workers: int
    validation_indices: Tensor | None
    fingerprint: str | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.decoder.depth, self.decoder.size, self.decoder.size

    def take(self, index: Tensor) -> "FolderImageSet":
        paths = tuple(self.paths[i] for i in index.tolist())
        return replace(
            self,
            paths=paths,
            labels=self.labels[index.to(self.labels.device)],
            validation_indices=None,
        )

    def relabel(self, labels: Tensor, classes: tuple[str, ...]) -> "FolderImageSet":
        return replace(self, labels=labels, classes=classes)

    def to(self, device: torch.device) -> "FolderImageSet":
        return replace(self, labels=self.labels.to(device))

    def iterate_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises CnnlabError for a file that cannot be read any more."""
        device, lists = self.labels.device, [index.tolist() for index in batches]
        made = decode_batches(
            DecodeDataset(self.paths, self.decoder),
            lists,
            self.workers,
            pin_memory=device.type == "cuda",
        )
        with closing(
            made
        ):  # left to be found as garbage, its workers would be waited for, ten seconds each
            for index, images in zip(batches, made, strict=True):
                if isinstance(images, str):
                    raise CnnlabError(images)
                yield images.to(device, non_blocking=True), self.labels[index]


def check_image_size(size: int, depth: int) -> None:
    """Raises ValueError for pictures that cannot be."""
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    if depth not in (1, 3):
        raise ValueError(f"depth must be 1 (grey) or 3 (colour), not {depth}")


def image_folder(
    split: Split, *, root: str | None, size: int, depth: int, test: float, test_seed: int, workers: int,
    skip_broken: bool, max_pixels: int, max_pictures: int,
) -> FolderImageSet:  # fmt: skip
    """The pictures below `root`, by class: see `listing`. What has no folder of its own is drawn from the training
    pictures, `test` of them (a number, or a share below 1) by `test_seed`. Raises CnnlabError with every picture that
    cannot be decoded, unless `skip_broken`; UsageError for a root or a number that cannot be."""
    for key, value, least in (("workers", workers, 0), ("max_pixels", max_pixels, 1)):
        if value < least:
            raise ValueError(f"{key} must be at least {least}, not {value}")
    check_image_size(size, depth)
    found = index_folder(root, max_pictures)
    decoder = ImageDecoder(size, depth, max_pixels)
    found = found.drop_broken(find_broken_images(found, decoder, workers), skip_broken=skip_broken)
    paths, labels = (list(column) for column in zip(*found.list_split("train"), strict=True))
    apart, held = found.list_split("validation"), None
    if not found.list_split("test"):
        tested, kept = (
            index.tolist() for index in random_split(len(paths), test, test_seed, "dataset.test")
        )
        testing = [(paths[i], labels[i]) for i in tested]
        paths, labels = [paths[i] for i in kept], [labels[i] for i in kept]
    else:
        testing = found.list_split("test")
    if apart:
        held = torch.arange(len(paths), len(paths) + len(apart))
        paths, labels = paths + [path for path, _ in apart], labels + [label for _, label in apart]
    mark: str | None = hash_labeled_files(found.root, paths, labels)
    if split == "test":
        mark = (
            None if found.list_split("test") else mark
        )  # drawn from the same folders, it hangs on what else is there
        paths, labels = (list(column) for column in zip(*testing, strict=True))
        held = None
    whole = tuple(os.path.join(found.root, path) for path in paths)  # noqa: PTH118  (a million Paths are slow)
    return FolderImageSet(whole, torch.tensor(labels), found.classes, decoder, workers, held, mark)


def hash_labeled_files(root: str, paths: Sequence[str], labels: Sequence[int]) -> str:
    """Changes with any picture's name, class or size in bytes, and with their order."""
    digest = hashlib.sha256()
    for path, label in zip(paths, labels, strict=True):
        digest.update(f"{label} {path!a} {get_file_size(os.path.join(root, path))}\n".encode())  # noqa: PTH118
    return digest.hexdigest()


def find_broken_images(found: FolderIndex, decoder: ImageDecoder, workers: int) -> dict[int, str]:
    """Decode every picture once: {its place in `found`: what is wrong}. The verdict is kept in the user's cache folder
    for as long as no file's name, size or date changes."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cnnlab" / "checked"
    verdict = cache / f"{found.hash_file_stats(decoder.max_pixels)}.json"
    known = read_json(verdict)
    if isinstance(known, dict) and all(
        k.isdecimal() and isinstance(v, str) for k, v in known.items()
    ):
        return {int(k): v for k, v in known.items()}
    paths, wrong, progress = found.list_full_paths(), dict[int, str](), Progress(sys.stderr)
    batches = [
        list(range(i, min(i + CHECK_BATCH_SIZE, len(paths))))
        for i in range(0, len(paths), CHECK_BATCH_SIZE)
    ]
    for done, complaints in enumerate(
        decode_batches(CheckDataset(paths, decoder), batches, workers), 1
    ):
        wrong |= complaints
        progress.show(
            f"looking through {printable(found.root)}: {done / len(batches):.0%}", keep=False
        )
    progress.end()
    with suppress(CnnlabError, OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_json(verdict, {str(k): v for k, v in wrong.items()})
    return wrong
