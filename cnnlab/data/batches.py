"""Iterate over batches of images, transformed on the training device."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.dataset import ImageSet

# Batches are transformed together up to so many values: small ones cost calls, not arithmetic.
MAX_GROUP_VALUES = 1 << 18  # 1 MB of float32, which stays in a core's cache
# (N, C, H, W) float images; (N,) labels, or (N, num_classes) shares where images are mixed
Batch = tuple[Tensor, Tensor]


class TrainingBatches:
    """Batches in an order that depends on (seed, epoch); images that fill no whole batch are left
    out of the epoch."""

    def __init__(
        self, image_set: ImageSet, pipeline: Pipeline, *, batch_size: int, seed: int
    ) -> None:
        self.images, self.pipeline, self.seed = image_set, pipeline, seed
        self.batch_size = min(batch_size, len(image_set))
        batch_values = self.batch_size * math.prod(image_set.shape)
        self.batches_per_group = max(1, MAX_GROUP_VALUES // batch_values)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.images) // self.batch_size

    def shuffle_epoch(self, epoch: int) -> Tensor:
        """Return the (len * batch_size,) indices of an epoch's images, in order, on the CPU."""
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.images), generator=rng)[: len(self) * self.batch_size]

    def get_batch_indices(self, step: int) -> list[int]:
        """Return the indices of the images of a step, counted from 0 over all epochs."""
        epoch, position = divmod(step, len(self))
        return self.shuffle_epoch(epoch)[position * self.batch_size :][: self.batch_size].tolist()

    def iterate_epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from the one numbered `start`."""
        order = self.shuffle_epoch(epoch).to(self.images.labels.device)
        rng, num_classes = CounterRNG(self.seed, epoch, order), len(self.images.classes)
        # From the first batch of a group on, so that a resumed epoch has the same groups.
        position = (start - start % self.batches_per_group) * self.batch_size
        groups = order[position:].split(self.batches_per_group * self.batch_size)
        for images, labels in self.images.iterate_batches(groups):
            x = self.pipeline(images, rng.slice_batch(position, len(labels)))
            batch_views = x.split(self.batch_size * self.pipeline.num_views)
            for views, batch_labels in zip(batch_views, labels.split(self.batch_size), strict=True):
                if position >= start * self.batch_size:
                    batch_rng = rng.slice_batch(position, self.batch_size)
                    yield self.pipeline.mix(views, batch_labels, num_classes, batch_rng)
                position += self.batch_size


def iterate_in_order(
    image_set: ImageSet, pipeline: Pipeline, *, batch_size: int
) -> Iterator[Batch]:
    """Yield every image once, in the data set's order, the views of each next to each other.

    A batch has about `batch_size` views; the last one may be smaller.
    """
    order = torch.arange(len(image_set), device=image_set.labels.device)
    indices = order.split(max(1, batch_size // pipeline.num_views))
    for images, labels in image_set.iterate_batches(indices):
        yield pipeline(images), labels
