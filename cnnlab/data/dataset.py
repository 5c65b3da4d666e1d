"""What a data set is to the rest: labelled uint8 pictures of one shape, in memory here, from files in `folder.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable

Split = Literal["train", "test"]


class ImageSet(Protocol):
    """Labelled pictures, wherever they are."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64, on the device."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the labels' order."""

    @property
    def validation_indices(self) -> Tensor | None:
        """Indices that the data set itself sets aside to validate with."""

    @property
    def fingerprint(self) -> str | None:
        """Of what it holds, where that is the user's and may change."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(depth, height, width) of every picture."""

    def __len__(self) -> int: ...

    def take(self: "ImageSetT", index: Tensor) -> "ImageSetT":
        """The pictures at `index`, in its order."""

    def relabel(self: "ImageSetT", labels: Tensor, classes: tuple[str, ...]) -> "ImageSetT":
        """The same pictures with other labels."""

    def to(self: "ImageSetT", device: torch.device) -> "ImageSetT":
        """The same pictures for a device."""

    def iterate_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each tensor of indices, in turn, its (N, C, H, W) uint8 pictures and (N,) labels, on the device."""


ImageSetT = TypeVar("ImageSetT", bound=ImageSet)


@dataclass(frozen=True)
class TensorImageSet:
    """(N, C, H, W) uint8 pictures in memory, (N,) int64 labels, and the classes' names in the labels' order."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    validation_indices: Tensor | None = None
    fingerprint: str | None = None

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


def hold_out(pictures: ImageSetT, *, count: float, seed: int) -> tuple[ImageSetT, ImageSetT]:
    """A training set -> (what is left to train on, pictures to validate with): those that it sets aside itself, or
    `count` of them (a number, or a share below 1), drawn by `seed` alone. Raises UsageError for a count that cannot be.
    """
    if pictures.validation_indices is None:
        held, rest = random_split(len(pictures), count, seed, "dataset.validation")
        return pictures.take(rest), pictures.take(held)
    mask = torch.ones(len(pictures), dtype=torch.bool)
    mask[pictures.validation_indices] = False
    return pictures.take(mask.nonzero().flatten()), pictures.take(pictures.validation_indices)


def random_split(total: int, count: float, seed: int, key: str) -> tuple[Tensor, Tensor]:
    """`count` of `total` indices (a number, or a share below 1) by `seed`, and the others; each in rising order."""
    if total < 2:
        raise UsageError(f"{key}: none can be set aside of {total} picture{'s' * (total != 1)}")
    number = max(1, round(count * total)) if 0 < count < 1 else int(count)
    if (count >= 1 and number != count) or not 0 < number < total:
        raise UsageError(
            f"{key} must be between 1 and {total - 1}, or a share below 1, not {count}"
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return order[:number].sort().values, order[number:].sort().values


def gather_images(pictures: ImageSet, index: Sequence[int]) -> Tensor:
    """(N, C, H, W) uint8: the pictures at a few indices."""
    ((images, _),) = pictures.iterate_batches([torch.tensor(index, device=pictures.labels.device)])
    return images


def align_labels(pictures: ImageSetT, classes: tuple[str, ...]) -> ImageSetT:
    """The same pictures with labels in the order of `classes`. Raises UsageError for a class that is not among them."""
    if pictures.classes == classes:
        return pictures
    if unknown := [name for name in pictures.classes if name not in classes]:
        known = ", ".join(map(printable, classes[:20]))
        raise UsageError(
            f"the run knows no class {', '.join(map(printable, unknown[:5]))}; it knows {known}"
        )
    table = torch.tensor(
        [classes.index(name) for name in pictures.classes], device=pictures.labels.device
    )
    return pictures.relabel(table[pictures.labels], classes)
