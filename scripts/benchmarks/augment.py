"""Compare the CIFAR-10 training pipeline with torchvision's transforms, image by image.

cnnlab: the batches that `cnnlab train model=cifar_bn` trains on, in this process alone, on
`--threads` threads (null in configs/train.yaml: all; one by default here, so that the other core
is idle). torchvision, twice, behind a DataLoader whose workers have started before the clock does:
`PIL`, CIFAR10 with v2.RandomCrop and RandomHorizontalFlip on its PIL images; `tensor`, the same on
uint8 tensors in memory. Both then v2.ColorJitter on uint8 (which multiplies brightness where
cnnlab adds), ToDtype, and standardization by a Lambda. All end in float32 batches of 24x24 in the
main process; no network. In alternation, after a round that is not counted.
"""

import argparse
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import datasets
from torchvision.transforms import v2

from benchmarks.harness import measure_alternately, print_machine, print_summary, summarize
from cnnlab.config import compose
from cnnlab.core.schema import call_checked
from cnnlab.data.batches import TrainingBatches
from cnnlab.data.build import build_pipelines, load_train_and_validation
from cnnlab.data.sources import get_data_root
from cnnlab.tasks.train.settings import TrainSettings


class InMemoryImages(Dataset):
    """uint8 tensors and their labels, each passed through a transform when it is read."""

    def __init__(
        self, images: Tensor, labels: Tensor, transform: Callable[[Tensor], Tensor]
    ) -> None:
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(self.images[i]), self.labels[i]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=80, help="of each in each round")
    parser.add_argument("--workers", type=int, default=2, help="of torchvision's DataLoader")
    parser.add_argument("--threads", type=int, default=1, help="of cnnlab")
    parser.add_argument("--batch-size", type=int, default=128)


def standardize(x: Tensor) -> Tensor:
    """Return an image with mean 0 and variance 1."""
    std, mean = torch.std_mean(x, correction=0)
    return (x - mean) / std.clamp(min=1 / (255 * x.numel() ** 0.5))


def build_cnnlab_batches(batch_size: int) -> TrainingBatches:
    """Return what `cnnlab train model=cifar_bn` trains on."""
    overrides = ["model=cifar_bn", "augment=distorted_crop", f"batch_size={batch_size}"]
    settings = call_checked(TrainSettings, compose("train", overrides), "")
    images, _ = load_train_and_validation(settings.dataset)
    pipeline = build_pipelines(settings.augment).train
    return TrainingBatches(images, pipeline, batch_size=settings.batch_size, seed=settings.seed)


def build_torchvision_loaders(
    batches: TrainingBatches, options: argparse.Namespace
) -> dict[str, DataLoader]:
    """Return torchvision's counterparts by name."""
    geometric = [v2.RandomCrop(24), v2.RandomHorizontalFlip()]
    jitter = v2.ColorJitter(brightness=63 / 255, contrast=0.8)
    photometric = [jitter, v2.ToDtype(torch.float32, scale=True), v2.Lambda(standardize)]
    on_pil = v2.Compose([*geometric, v2.PILToTensor(), *photometric])
    on_tensor = v2.Compose([*geometric, *photometric])
    images = batches.images
    data: dict[str, Any] = {
        "PIL": datasets.CIFAR10(str(get_data_root(None)), transform=on_pil),
        "tensor": InMemoryImages(images.images, images.labels, on_tensor),
    }
    num_samples = options.batches * options.batch_size
    return {
        name: DataLoader(
            dataset,
            options.batch_size,
            sampler=RandomSampler(dataset, num_samples=num_samples),
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
        )
        for name, dataset in data.items()
    }


def measure_rate(batches: Iterable[tuple[Tensor, Tensor]], count: int) -> float:
    """Return images/s over `count` batches."""
    start, num_images = perf_counter(), 0
    for images, _ in itertools.islice(batches, count):
        assert images.dtype == torch.float32 and images.shape[1:] == (3, 24, 24)
        num_images += len(images)
    return num_images / (perf_counter() - start)


def run(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    batches = build_cnnlab_batches(options.batch_size)
    loaders = build_torchvision_loaders(batches, options)
    print_machine(
        f"cnnlab on {options.threads} threads, torchvision with {options.workers} workers",
        f"{options.batches} batches of {options.batch_size} in each of {options.rounds} rounds",
    )
    epochs = itertools.chain([0], itertools.count())  # the warm-up round is epoch 0 too
    candidates: dict[str, Callable[[], float]] = {
        "cnnlab": lambda: measure_rate(batches.iterate_epoch(next(epochs)), options.batches)
    }
    for name, loader in loaders.items():
        candidates[name] = partial(measure_rate, loader, options.batches)
    values = measure_alternately(candidates, options.rounds, warm_up_rounds=1)
    summary = summarize(values, "cnnlab", higher_is_better=True)
    print_summary(summary, "images/s")
    return {"images_per_s": summary}
