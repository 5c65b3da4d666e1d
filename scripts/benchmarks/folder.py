"""Compare the speed of images from a folder with torchvision's ImageFolder and DataLoader.

ROOT holds a folder of images for each class, or a folder train/ that does. torchvision: Resize,
CenterCrop (both left out by --plain, where every image has the size already), ToTensor and
Normalize behind a DataLoader that shuffles. cnnlab: `dataset=folder` with the same normalization.
Both end in normalized float batches in the main process. In alternation; a round that is not
counted puts the files into the system's cache.
"""

import argparse
import itertools
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.harness import measure_alternately, print_machine, print_summary, summarize
from cnnlab.config import compose
from cnnlab.core.schema import call_checked
from cnnlab.data.batches import TrainingBatches
from cnnlab.data.build import build_pipelines, load_train_and_validation
from cnnlab.tasks.train.settings import TrainSettings


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=60, help="of each in each round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--plain", action="store_true", help="torchvision without Resize and CenterCrop"
    )


def build_cnnlab_batches(options: argparse.Namespace) -> tuple[TrainingBatches, TrainSettings]:
    """Return what `cnnlab train dataset=folder` trains on."""
    overrides = [f"dataset.{key}={getattr(options, key)}" for key in ("root", "workers", "size")]
    config = compose("train", ["dataset=folder", *overrides])
    settings = call_checked(TrainSettings, config, "")
    images, _ = load_train_and_validation(settings.dataset)
    pipeline = build_pipelines(settings.augment).train
    batches = TrainingBatches(images, pipeline, batch_size=options.batch_size, seed=1)
    return batches, settings


def build_torchvision_loader(options: argparse.Namespace, settings: TrainSettings) -> DataLoader:
    """Return ImageFolder with the same transforms behind a DataLoader."""
    resize = [transforms.Resize(options.size), transforms.CenterCrop(options.size)]
    normalize = transforms.Normalize(settings.dataset["mean"], settings.dataset["std"])
    steps = [*([] if options.plain else resize), transforms.ToTensor(), normalize]
    root = Path(options.root)
    folder = root / "train" if (root / "train").is_dir() else root
    data = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    return DataLoader(
        data, options.batch_size, shuffle=True, drop_last=True, num_workers=options.workers
    )


def measure_rate(batches: Iterable[tuple[Tensor, Tensor]], count: int) -> float:
    """Return images/s over `count` batches, the start of the workers included."""
    start, num_images = perf_counter(), 0
    for images, _ in itertools.islice(batches, count):
        num_images += len(images)
    return num_images / (perf_counter() - start)


def run(options: argparse.Namespace) -> dict[str, Any]:
    batches, settings = build_cnnlab_batches(options)
    loader = build_torchvision_loader(options, settings)
    print_machine(
        f"{options.workers} workers, {torch.get_num_threads()} threads, size {options.size}",
        f"{options.batches} batches of {options.batch_size} in each of {options.rounds} rounds",
    )
    candidates = {
        "cnnlab": lambda: measure_rate(batches.iterate_epoch(0), options.batches),
        "ImageFolder": lambda: measure_rate(loader, options.batches),
    }
    values = measure_alternately(candidates, options.rounds, warm_up_rounds=1)
    summary = summarize(values, "cnnlab", higher_is_better=True)
    print_summary(summary, "images/s")
    return {"images_per_s": summary}
