"""Batches of images, uint8 on the training device: changed there, a batch at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.dataset import ImageSet

# (N, C, H, W) float images; (N,) labels, or (N, classes) shares where images are mixed
Batch = tuple[Tensor, Tensor]


class TrainingBatches:
    """Shuffled anew each epoch by (seed, epoch); the last images that fill no batch wait for another epoch."""

    def __init__(
        self, image_set: ImageSet, pipeline: Pipeline, *, batch_size: int, seed: int
    ) -> None:
        self.images, self.pipeline, self.seed = image_set, pipeline, seed
        self.batch_size = min(batch_size, len(image_set))

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.images) // self.batch_size

    def shuffle_epoch(self, epoch: int) -> Tensor:
        """(len * batch_size,) indices of the epoch's images, in order, on the CPU."""
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.images), generator=rng)[: len(self) * self.batch_size]

    def get_batch_indices(self, step: int) -> list[int]:
        """Which images the batch of a step (counted from 0 over all epochs) holds."""
        epoch, position = divmod(step, len(self))
        return self.shuffle_epoch(epoch)[position * self.batch_size :][: self.batch_size].tolist()

    def iterate_epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the one numbered `start`."""
        order = self.shuffle_epoch(epoch).to(self.images.labels.device)
        batches, draws = order.split(self.batch_size)[start:], CounterRNG(self.seed, epoch, order)
        for number, (images, labels) in enumerate(self.images.iterate_batches(batches), start):
            mine = draws.slice_batch(number * self.batch_size, self.batch_size)
            yield self.pipeline.mix(
                self.pipeline(images, mine), labels, len(self.images.classes), mine
            )


def iterate_in_order(
    image_set: ImageSet, pipeline: Pipeline, *, batch_size: int
) -> Iterator[Batch]:
    """Every image once, in the data set's order, its views side by side; the last batch may be smaller."""
    order = torch.arange(len(image_set), device=image_set.labels.device)
    for images, labels in image_set.iterate_batches(
        order.split(max(1, batch_size // pipeline.num_views))
    ):
        yield pipeline(images), labels
