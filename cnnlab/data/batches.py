"""Batches of pictures, uint8 on the training device: changed there, a batch at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import Draws
from cnnlab.data.dataset import PictureSet

# (N, C, H, W) float pictures; (N,) labels, or (N, classes) shares where pictures are mixed
Batch = tuple[Tensor, Tensor]


class TrainingBatches:
    """Shuffled anew each epoch by (seed, epoch); the last pictures that fill no batch wait for another epoch."""

    def __init__(self, pictures: PictureSet, pipeline: Pipeline, *, batch_size: int, seed: int) -> None:
        self.pictures, self.pipeline, self.seed = pictures, pipeline, seed
        self.batch_size = min(batch_size, len(pictures))

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.pictures) // self.batch_size

    def order(self, epoch: int) -> Tensor:
        """(len * batch_size,) indices of the epoch's pictures, in order, on the CPU."""
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.pictures), generator=rng)[: len(self) * self.batch_size]

    def indices(self, step: int) -> list[int]:
        """Which pictures the batch of a step (counted from 0 over all epochs) holds."""
        epoch, position = divmod(step, len(self))
        return self.order(epoch)[position * self.batch_size :][: self.batch_size].tolist()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the one numbered `start`."""
        order = self.order(epoch).to(self.pictures.labels.device)
        batches, draws = order.split(self.batch_size)[start:], Draws(self.seed, epoch, order)
        for number, (images, labels) in enumerate(self.pictures.stream(batches), start):
            mine = draws.batch(number * self.batch_size, self.batch_size)
            yield self.pipeline.mixed(self.pipeline(images, mine), labels, len(self.pictures.classes), mine)


def in_order(pictures: PictureSet, pipeline: Pipeline, *, batch_size: int) -> Iterator[Batch]:
    """Every picture once, in the data set's order, its views side by side; the last batch may be smaller."""
    order = torch.arange(len(pictures), device=pictures.labels.device)
    for images, labels in pictures.stream(order.split(max(1, batch_size // pipeline.views))):
        yield pipeline(images), labels
