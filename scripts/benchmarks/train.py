"""Compare cnnlab's training loop with a plain PyTorch loop on the same network, in alternation.

`plain` is the loop of PyTorch's own MNIST example: torchvision's data set with ToTensor and
Normalize, a DataLoader that shuffles, Adam, loss.item() now and then. `cnnlab` does all that
`cnnlab train` does between epochs: order, batch, gradient norm, guard against non-finite steps,
running metrics, TensorBoard. `bare` is forward, backward and step on one batch that never changes:
what is left of cnnlab's time is its own. `ReLU first` is the plain loop with the network as the
chapter writes it, ReLU before pooling; cnnlab pools first, which gives the same numbers. Each loop
runs in processes of its own, a new one every round, since cnnlab sets how memory is allocated. The
plain loops compute in float32 whatever `--precision` is. MNIST is read from CNNLAB_DATA.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from benchmarks.harness import Table, measure_alternately, print_machine, run_child, summarize
from cnnlab.config import compose
from cnnlab.core.device import synchronize, use_threads
from cnnlab.core.precision import use_precision
from cnnlab.core.run import Run
from cnnlab.core.schema import call_checked
from cnnlab.data.sources import digits, get_data_root
from cnnlab.tasks.train.loop import log_step_report
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer, build_trainer

StepSizes = Iterator[int]  # takes a training step, then yields its number of images
HEADERS = ("network", "precision", "cnnlab", "plain", "ratio", "ReLU first", "ratio", "outside")


class PILDigits(Dataset):
    """scikit-learn's digits as PIL images, which is what torchvision's data sets hold."""

    def __init__(self, transform: Callable[[Any], torch.Tensor]) -> None:
        data = digits("train", root=None)
        to_pil = transforms.ToPILImage()
        pairs = zip(data.images, data.labels, strict=True)
        self.samples = [(to_pil(image), int(label)) for image, label in pairs]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.samples[index]
        return self.transform(image), label


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", default=["digits_cnn", "mnist_mlp", "mnist_cnn"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each loop in each round")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--precision", nargs="+", default=["float32"], help="of cnnlab and bare, a row for each"
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="setting of cnnlab and bare, such as channels_last=true; may be repeated",
    )


def make_trainer(model: str, device: str, more: list[str]) -> Trainer:
    """Return what `cnnlab train model=MODEL` trains, with more epochs than the benchmark takes."""
    overrides = [f"model={model}", f"device={device}", "epochs=100000", "schedule=constant"]
    overrides += more
    return build_trainer(call_checked(TrainSettings, compose("train", overrides), ""))


def cnnlab_loop(trainer: Trainer, folder: Path) -> StepSizes:
    """cnnlab's loop, with what it logs to a folder."""
    run, last = Run(folder), 0
    for report in trainer.fit(0):
        log_step_report(run, report)
        yield (report.step - last) * trainer.train_batches.batch_size
        last = report.step


def make_plain_loader(trainer: Trainer) -> DataLoader:
    """Return torchvision's data set and DataLoader, as PyTorch's MNIST example sets them up."""
    dataset = trainer.settings.dataset
    normalize = transforms.Normalize(dataset["mean"], dataset["std"])
    transform = transforms.Compose([transforms.ToTensor(), normalize])
    data: Dataset
    if dataset["name"] == "mnist":
        data = datasets.MNIST(str(get_data_root(None)), train=True, transform=transform)
    else:
        data = PILDigits(transform)
    on_gpu: dict[str, Any] = {"num_workers": 1, "persistent_workers": True, "pin_memory": True}
    workers = on_gpu if trainer.device.type == "cuda" else {}
    batch_size = trainer.train_batches.batch_size
    return DataLoader(data, batch_size=batch_size, shuffle=True, drop_last=True, **workers)


def plain_loop(trainer: Trainer, folder: Path) -> StepSizes:
    """The loop of PyTorch's MNIST example."""
    loader, device, model = make_plain_loader(trainer), trainer.device, trainer.model
    optimizer = torch.optim.Adam(model.parameters(), lr=trainer.settings.optim["lr"])
    model.train()
    while True:
        for step, (images, labels) in enumerate(loader):
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                f"step {step} loss {loss.item():.6f}"
            yield len(labels)


def relu_first_loop(trainer: Trainer, folder: Path) -> StepSizes:
    """The plain loop with every ReLU before its pooling, as the chapter writes it."""
    for name, block in trainer.model.named_children():
        if hasattr(block, "pool"):
            setattr(trainer.model, name, nn.Sequential(block.conv, nn.ReLU(), block.pool))
    return plain_loop(trainer, folder)


def bare_loop(trainer: Trainer, folder: Path) -> StepSizes:
    """Forward, backward and step alone."""
    model, precision = trainer.model, trainer.settings.precision
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    images, labels = next(trainer.train_batches.iterate_epoch(0))
    model.train()
    while True:
        with use_precision(precision, trainer.device):
            outputs = model(images)
        F.cross_entropy(outputs.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        yield len(labels)


LOOPS: dict[str, Callable[[Trainer, Path], StepSizes]] = {
    "cnnlab": cnnlab_loop,
    "plain": plain_loop,
    "ReLU first": relu_first_loop,
    "bare": bare_loop,
}


def measure_rate(loop: StepSizes, seconds: float, device: torch.device) -> float:
    """Return images/s over at least `seconds`."""
    synchronize(device)
    start, num_images = perf_counter(), 0
    while perf_counter() - start < seconds:
        num_images += next(loop)
    synchronize(device)
    return num_images / (perf_counter() - start)


def measure_in_child(
    loop: str, model: str, precision: str, overrides: list[str], device: str, seconds: float
) -> None:
    """Print a loop's images/s. The plain loops compute in float32, without `overrides`."""
    is_plain = loop in ("plain", "ReLU first")
    more = [] if is_plain else [f"precision={precision}", *overrides]
    trainer = make_trainer(model, device, more)
    with tempfile.TemporaryDirectory() as folder:
        steps = LOOPS[loop](trainer, Path(folder))
        with use_threads(None if is_plain else trainer.settings.threads):
            measure_rate(steps, min(1.0, seconds), trainer.device)
            print(measure_rate(steps, seconds, trainer.device))


def measure(model: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all loops on a network, in alternation."""
    settings = compose("train", [f"model={model}"])
    has_max_pooling = settings["model"].get("pool") == "max"
    arguments = {
        "model": model,
        "precision": precision,
        "overrides": options.override,
        "device": options.device,
        "seconds": options.seconds,
    }

    def measure_loop(name: str) -> float:
        return float(run_child("train", loop=name, **arguments))

    names = [name for name in LOOPS if has_max_pooling or name != "ReLU first"]
    values = measure_alternately(
        {name: lambda name=name: measure_loop(name) for name in names}, options.rounds
    )
    rates = summarize(values, "cnnlab", higher_is_better=True)
    return {
        "model": model,
        "precision": precision,
        "images_per_s": rates,
        "times_plain": rates["plain"]["ratio"],
        "times_relu_first": rates["ReLU first"]["ratio"] if has_max_pooling else None,
        "share_outside": 1 - rates["bare"]["ratio"],
        "batch_size": settings["batch_size"],
    }


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    print_machine(
        f"{options.seconds:g} s of each loop in each of {options.rounds} rounds",
        "median images/s, ratios by round",
        device_name=options.device,
    )
    print("plain and ReLU first: float32; outside: of forward, backward and step")
    table, rows = Table(*HEADERS), []
    for model, precision in itertools.product(options.models, options.precision):
        row = measure(model, precision, options)
        rows.append(row)
        rates, relu_first = row["images_per_s"], row["times_relu_first"]
        median = {name: f"{rate['median']:,.0f}" for name, rate in rates.items()}
        table.add(
            f"`{model}`",
            precision,
            median["cnnlab"],
            median["plain"],
            f"{row['times_plain']:.2f}",
            median.get("ReLU first", "-"),
            f"{relu_first:.2f}" if relu_first else "-",
            f"{row['share_outside']:.1%}",
        )
    return rows
