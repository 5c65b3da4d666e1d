"""Data sets: labeled uint8 images of one shape, here in memory.

`image_folder.py` has those that are decoded from files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable

Split = Literal["train", "test"]


class ImageSet(Protocol):
    """Labeled images, in memory or in files."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64, on the device."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the labels' order."""

    @property
    def validation_indices(self) -> Tensor | None:
        """The indices of the data set's own validation images; None if it has none."""

    @property
    def is_stratified(self) -> bool:
        """Whether validation images are drawn per class, and not from all images alike."""

    @property
    def fingerprint(self) -> str | None:
        """A digest of the images if they are the user's, which may change; else None."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(depth, height, width) of every image."""

    def __len__(self) -> int: ...

    def take(self: "ImageSetT", index: Tensor) -> "ImageSetT":
        """Return the images at `index`, in its order."""

    def relabel(self: "ImageSetT", labels: Tensor, classes: tuple[str, ...]) -> "ImageSetT":
        """Return the same images with other labels."""

    def to(self: "ImageSetT", device: torch.device) -> "ImageSetT":
        """Return the same images for a device."""

    def iterate_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (N, C, H, W) uint8 images and (N,) labels of each tensor of indices, on the
        device."""


ImageSetT = TypeVar("ImageSetT", bound=ImageSet)


@dataclass(frozen=True)
class TensorImageSet:
    """(N, C, H, W) uint8 images in memory and their (N,) int64 labels: an `ImageSet`."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    validation_indices: Tensor | None = None
    fingerprint: str | None = None
    is_stratified: ClassVar[bool] = False  # results of the published sets are recorded so

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images.shape[1], self.images.shape[2], self.images.shape[3]

    def take(self, index: Tensor) -> "TensorImageSet":
        return replace(
            self, images=self.images[index], labels=self.labels[index], validation_indices=None
        )

    def relabel(self, labels: Tensor, classes: tuple[str, ...]) -> "TensorImageSet":
        return replace(self, labels=labels, classes=classes)

    def to(self, device: torch.device) -> "TensorImageSet":
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def iterate_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for index in batches:
            yield self.images.index_select(0, index), self.labels[index]


def hold_out(image_set: ImageSetT, *, count: float, seed: int) -> tuple[ImageSetT, ImageSetT]:
    """Split a training set into images to train on and images to validate with.

    The latter are its own validation images if it has them, else `count` of its images (a number,
    or a fraction below 1), drawn by `seed`. Raises UsageError for an invalid count.
    """
    if image_set.validation_indices is not None:
        mask = torch.ones(len(image_set), dtype=torch.bool)
        mask[image_set.validation_indices] = False
        rest, held_out = mask.nonzero().flatten(), image_set.validation_indices
    elif image_set.is_stratified:
        held_out, rest = stratified_split(
            image_set.labels, image_set.classes, count, seed, "dataset.validation"
        )
    else:
        held_out, rest = random_split(len(image_set), count, seed, "dataset.validation")
    return image_set.take(rest), image_set.take(held_out)


def random_split(total: int, count: float, seed: int, key: str) -> tuple[Tensor, Tensor]:
    """Return `count` of `total` indices (a number, or a fraction below 1), drawn by `seed`, and the
    others; both sorted. Raises UsageError, naming `key`, for an invalid count."""
    number = resolve_count(total, count, key)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return order[:number].sort().values, order[number:].sort().values


def stratified_split(
    labels: Tensor, classes: tuple[str, ...], count: float, seed: int, key: str
) -> tuple[Tensor, Tensor]:
    """Return indices as `random_split` does, of each class its share of (N,) `labels`.

    At least one image of each class is left. Raises UsageError, naming `key`, for an invalid count.
    """
    number = resolve_count(len(labels), count, key)
    sizes = labels.bincount(minlength=len(classes))
    room = int((sizes - 1).clamp(min=0).sum())
    if number > room:
        names = [printable(classes[label]) for label in (sizes == 1).nonzero().flatten()]
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        single = f"\nclasses with one image: {', '.join(names[:5])}{more}" if names else ""
        raise UsageError(
            f"{key}: {number:,} of {len(labels):,} images cannot be set aside\n"
            f"a class keeps at least one image to train on: at most {room:,} can be{single}"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    rank = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    is_drawn = rank < allot_shares(sizes, number, generator).repeat_interleave(sizes)
    return by_class[is_drawn].sort().values, by_class[~is_drawn].sort().values


def allot_shares(sizes: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Return how many of `number` images each class gives: in proportion to its size, by largest
    remainders, ties drawn; at most all but one."""
    total, most = int(sizes.sum()), (sizes - 1).clamp(min=0)
    allotted = (number * sizes // total).minimum(most)
    ties = torch.rand(len(sizes), generator=generator, dtype=torch.float64)
    while (missing := number - int(allotted.sum())) > 0:
        # Remainders are whole numbers; the ties, below 1, decide between equal ones only.
        remainder = (number * sizes - total * allotted).double() + ties
        remainder[allotted == most] = -torch.inf
        largest = remainder.topk(min(missing, int((allotted < most).sum()))).indices
        allotted[largest] += 1
    return allotted


def resolve_count(total: int, count: float, key: str) -> int:
    """Return how many of `total` images `count` is: a number, or a fraction below 1. Raises
    UsageError, naming `key`, if none or all."""
    if total < 2:
        raise UsageError(f"{key}: {total} image{'s' * (total != 1)} cannot be split")
    number = max(1, round(count * total)) if 0 < count < 1 else int(count)
    if (count >= 1 and number != count) or not 0 < number < total:
        raise UsageError(
            f"{key} must be between 1 and {total - 1}, or a share below 1, not {count}"
        )
    return number


def gather_images(image_set: ImageSet, index: Sequence[int]) -> Tensor:
    """Return the (N, C, H, W) uint8 images at a few indices."""
    ((images, _),) = image_set.iterate_batches(
        [torch.tensor(index, device=image_set.labels.device)]
    )
    return images


def align_labels(image_set: ImageSetT, classes: tuple[str, ...]) -> ImageSetT:
    """Return the same images with labels in the order of `classes`.

    Raises UsageError for a class that is not one of them.
    """
    if image_set.classes == classes:
        return image_set
    if unknown := [name for name in image_set.classes if name not in classes]:
        known = ", ".join(map(printable, classes[:20]))
        raise UsageError(
            f"the run knows no class {', '.join(map(printable, unknown[:5]))}; it knows {known}"
        )
    table = torch.tensor(
        [classes.index(name) for name in image_set.classes], device=image_set.labels.device
    )
    return image_set.relabel(table[image_set.labels], classes)
