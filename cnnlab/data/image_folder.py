"""Image sets from a folder (`root/class/image.jpg`), decoded in threads as they are needed."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from cnnlab.core.quoting import printable
from cnnlab.data.broken_images import check_images, get_file_stats
from cnnlab.data.dataset import Split, stratified_split
from cnnlab.data.decode import ImageDecoder, decode_batches
from cnnlab.data.folder_index import FolderIndex, index_folder
from cnnlab.data.folder_layout import Layout
from cnnlab.data.folder_report import FolderReport, describe_copies

# The beginning of the fingerprint where a split is drawn; runs of earlier versions lack it.
STRATIFIED = "stratified:"
LabeledFiles = list[tuple[str, int]]  # (path below the root, class index)


@dataclass(frozen=True)
class FolderImageSet:
    """Labeled image files: an `ImageSet`."""

    paths: tuple[str, ...]
    labels: Tensor
    classes: tuple[str, ...]
    decoder: ImageDecoder
    workers: int
    validation_indices: Tensor | None
    fingerprint: str | None
    report: FolderReport
    is_stratified: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.decoder.depth, self.decoder.size, self.decoder.size

    def take(self, index: Tensor) -> "FolderImageSet":
        paths = tuple(self.paths[i] for i in index.tolist())
        labels = self.labels[index.to(self.labels.device)]
        return replace(self, paths=paths, labels=labels, validation_indices=None)

    def relabel(self, labels: Tensor, classes: tuple[str, ...]) -> "FolderImageSet":
        return replace(self, labels=labels, classes=classes)

    def to(self, device: torch.device) -> "FolderImageSet":
        return replace(self, labels=self.labels.to(device))

    def iterate_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and labels of each tensor of indices, decoded by threads.

        Raises CnnlabError, naming the file, if one can no longer be decoded.
        """
        device = self.labels.device
        decoded = decode_batches(
            self.paths,
            [index.tolist() for index in batches],
            self.decoder,
            num_threads=self.workers,
            pin_memory=device.type == "cuda",
        )
        with closing(decoded):
            for index, images in zip(batches, decoded, strict=True):
                yield images.to(device, non_blocking=True), self.labels[index]


def image_folder(
    split: Split,
    *,
    root: str | None,
    layout: Layout = "auto",  # runs of earlier versions lack it
    size: int,
    depth: int,
    test: float,
    test_seed: int,
    workers: int,
    skip_broken: bool,
    max_pixels: int,
    max_images: int,
) -> FolderImageSet:
    """Return the training or the test images below `root`, labeled by folder: see `index_folder`.

    Without a test folder, `test` images (a number, or a fraction below 1) are drawn per class from
    the training images by `test_seed`. Raises CnnlabError that lists every image that cannot be
    decoded, unless `skip_broken`; UsageError and ValueError for a wrong root or number.
    """
    check_image_folder_settings(size, depth, workers, max_pixels)
    decoder = ImageDecoder(size, depth, max_pixels)
    index = index_folder(root, max_images, layout)
    check = check_images(index, decoder, workers)
    index = index.drop_broken(check.errors, skip_broken=skip_broken)
    has_test_folder = bool(index.list_split("test"))
    train, validation, test_files = divide_files(index, test, test_seed)
    entries = train + validation
    # Drawn from the training images, the test set changes whenever they do.
    fingerprint = None
    if split == "train" or not has_test_folder:
        is_drawn = not (has_test_folder and validation)
        fingerprint = STRATIFIED * is_drawn + hash_labeled_files(index.root, entries)
    held_out = None
    if split == "train" and validation:
        held_out = torch.arange(len(train), len(entries))
    files = entries if split == "train" else test_files
    return FolderImageSet(
        tuple(os.path.join(index.root, path) for path, _ in files),  # noqa: PTH118  (faster)
        torch.tensor([label for _, label in files]),
        index.classes,
        decoder,
        workers,
        held_out,
        fingerprint,
        FolderReport(
            test_labels=tuple(label for _, label in test_files),
            skipped=index.skipped,
            ignored=index.ignored,
            copies=describe_copies(index.root, entries, test_files, check.copies),
            root=index.root,
            copy_groups=tuple(map(tuple, check.copies)),
        ),
    )


def divide_files(
    index: FolderIndex, test: float, test_seed: int
) -> tuple[LabeledFiles, LabeledFiles, LabeledFiles]:
    """Return the files to train on, those of a validation folder, and those to test with."""
    train, validation, test_files = (
        index.list_split(name) for name in ("train", "validation", "test")
    )
    if not test_files:
        labels = torch.tensor([label for _, label in train])
        drawn, rest = stratified_split(labels, index.classes, test, test_seed, "dataset.test")
        test_files = [train[i] for i in drawn.tolist()]
        train = [train[i] for i in rest.tolist()]
    return train, validation, test_files


def explain_fingerprint(root: str, recorded: str | None, current: str | None) -> str:
    """Return why the images below a root are not those of a run with another fingerprint."""
    is_drawn = [str(fingerprint).startswith(STRATIFIED) for fingerprint in (recorded, current)]
    if is_drawn == [False, True]:
        return (
            f"the run was started by an earlier version of cnnlab, which drew other images\n"
            f"below {printable(root)} to validate and to test with"
        )
    return f"the images below {printable(root)} have changed since the run started"


def check_image_folder_settings(size: int, depth: int, workers: int, max_pixels: int) -> None:
    """Raise ValueError for a setting out of range."""
    for key, value, minimum in (("workers", workers, 0), ("max_pixels", max_pixels, 1)):
        if value < minimum:
            raise ValueError(f"{key} must be at least {minimum}, not {value}")
    check_image_size(size, depth)


def check_image_size(size: int, depth: int) -> None:
    """Raise ValueError for a size or depth that images cannot have."""
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    if depth not in (1, 3):
        raise ValueError(f"depth must be 1 (gray) or 3 (color), not {depth}")


def hash_labeled_files(root: str, entries: Sequence[tuple[str, int]]) -> str:
    """Return a digest of the order, names, labels and sizes in bytes of image files."""
    digest, prefix = hashlib.sha256(), os.path.join(root, "")  # noqa: PTH118
    for path, label in entries:
        size = get_file_stats(prefix + path)[0]
        digest.update(f"{label} {path!a} {size}\n".encode())
    return digest.hexdigest()
