"""Select the images of a map: a split of a run's data set, and a user's folder."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError, format_unknown_choice
from cnnlab.core.files import expand_home
from cnnlab.core.quoting import printable
from cnnlab.data.dataset import ImageSet
from cnnlab.data.folder_layout import find_split_folders, locate_classes, normalize_name
from cnnlab.data.image_tree import iterate_image_files, scan_images
from cnnlab.data.user_images import (
    UnreadableImages,
    UserImageTarget,
    find_user_image_target,
    read_user_image,
)
from cnnlab.tasks.trained_run import TrainedRun, load_split

DATASET_SPLITS = ("test", "validation", "train", "trainval")
STANDALONE_TARGET = UserImageTarget((3, 256, 256))  # of images without a run


@dataclass(frozen=True)
class ImageBatch:
    """A batch of images.

    `pixels`: (N, C, H, W) uint8; `labels`: (N,), -1 where unknown; `indices`: (N,) within their
    split, -1 for a user's images.
    """

    pixels: Tensor
    labels: Tensor
    names: list[str]
    indices: Tensor


@dataclass(frozen=True)
class ImageSelection:
    """The images of a split at `indices`, and those of a folder, adapted to `target`."""

    classes: tuple[str, ...]
    batch_size: int
    split: str
    images: ImageSet | None
    indices: Tensor
    folder: Path | None
    target: UserImageTarget
    unreadable: UnreadableImages = field(default_factory=UnreadableImages)

    def iterate_batches(self) -> Iterator[ImageBatch]:
        """Yield all images, the folder's last. Unreadable files are left out, in `unreadable`."""
        if self.images is not None:
            yield from iterate_split(self.images, self.indices, self.split, self.batch_size)
        if self.folder is not None:
            yield from iterate_folder(self, self.folder)


def select_images(
    split: str,
    max_images: int | None,
    seed: int,
    trained: TrainedRun | None,
    batch_size: int | None,
    device: torch.device,
) -> ImageSelection:
    """Return the images of a split, or those of a folder among the test set's.

    At most `max_images` of the split are selected at random. Without a run the folder's images are
    alone. Raises UsageError where `split` is neither a split nor a folder.
    """
    folder = None if split in DATASET_SPLITS else expand_home(split)
    if folder is not None and not folder.is_dir():
        choices = format_unknown_choice("split", printable(split), DATASET_SPLITS)
        raise UsageError(f"no folder {printable(split)}, and {choices}")
    if trained is None:
        classes, indices = find_class_names(folder), torch.empty(0)
        return ImageSelection(
            classes, batch_size or 64, "", None, indices, folder, STANDALONE_TARGET
        )
    split = split if folder is None else "test"
    images = load_split(trained, split).to(device)
    return ImageSelection(
        trained.classes,
        batch_size or int(trained.config["eval_batch_size"]),
        split,
        images,
        sample_indices(len(images), max_images, seed),
        folder,
        find_user_image_target(trained.config["dataset"], trained.shape),
    )


def sample_indices(n: int, max_images: int | None, seed: int) -> Tensor:
    """Return a sorted random sample of 0..n - 1; all where there are at most `max_images`."""
    if max_images is None or n <= max_images:
        return torch.arange(n)
    rng = torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=rng)[:max_images].sort().values


def find_class_names(folder: Path | None) -> tuple[str, ...]:
    """Return the names of a folder's class folders, as `dataset=folder` reads them; none where it
    would refuse to, or finds one."""
    if folder is None:
        return ()
    tree = scan_images(folder)
    try:
        located = locate_classes(tree, find_split_folders(tree, "auto"))
    except UsageError:
        return ()
    names = sorted({name for _, name in located.values()})
    return tuple(names) if len(names) > 1 else ()


def iterate_split(
    images: ImageSet, indices: Tensor, split: str, batch_size: int
) -> Iterator[ImageBatch]:
    """Yield the images at (N,) `indices` of a split."""
    batches = indices.to(images.labels.device).split(batch_size)
    for rows, (pixels, labels) in zip(batches, images.iterate_batches(batches), strict=True):
        yield ImageBatch(pixels, labels.cpu(), [f"{split} #{i}" for i in rows.tolist()], rows.cpu())


def iterate_folder(selection: ImageSelection, folder: Path) -> Iterator[ImageBatch]:
    """Yield the images below a folder, adapted as for `predict`.

    An image has the label of the nearest folder around it with the name of a class. Raises
    UsageError for a folder without images, and CnnlabError where none is readable.
    """
    files, unreadable = list(iterate_image_files(folder)), selection.unreadable
    if not files:
        raise UsageError(f"split={printable(str(folder))} contains no images")
    for start in range(0, len(files), selection.batch_size):
        pixels, labels, names = [], [], []
        for file in map(Path, files[start : start + selection.batch_size]):
            try:
                adapted, _ = read_user_image(file, selection.target)
            except CnnlabError as error:
                unreadable.add(file, error)
                continue
            pixels.append(adapted)
            labels.append(find_label(selection.classes, folder, file))
            names.append(printable(str(file.relative_to(folder))))
        if pixels:
            indices = torch.full((len(names),), -1)
            yield ImageBatch(torch.stack(pixels), torch.tensor(labels), names, indices)
    if len(unreadable) == len(files):
        unreadable.raise_if_any()


def find_label(classes: tuple[str, ...], top: Path, file: Path) -> int:
    """Return the index of the class that the nearest folder from a file's up to `top` names; -1 for
    none."""
    folders = [*reversed(file.relative_to(top).parent.parts), top.absolute().name]
    names = (normalize_name(name) for name in folders)
    return next((classes.index(name) for name in names if name in classes), -1)
