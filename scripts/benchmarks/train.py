"""Compare cnnlab's training loop with a plain PyTorch loop on the same network, in alternation.

`plain` is the loop of PyTorch's own MNIST example: torchvision's data set with ToTensor and
Normalize, a DataLoader that shuffles, Adam, loss.item() now and then. `cnnlab` does all that
`cnnlab train` does between epochs: order, batch, gradient norm, guard against non-finite steps,
running metrics, TensorBoard. `bare` is forward, backward and step on one batch that never changes:
what is left of cnnlab's time is its own. `ReLU first` is the plain loop with the network as the
chapter writes it, ReLU before pooling; cnnlab pools first, which gives the same numbers. MNIST is
read from CNNLAB_DATA.
"""

import argparse
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

from benchmarks.harness import Table, measure_alternately, print_machine, summarize
from cnnlab.config import compose
from cnnlab.core.device import synchronize, use_threads
from cnnlab.core.run import Run
from cnnlab.core.schema import call_checked
from cnnlab.data.sources import digits, get_data_root
from cnnlab.tasks.train.loop import log_step_report
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import Trainer, build_trainer

StepSizes = Iterator[int]  # takes a training step, then yields its number of images
HEADERS = ("network", "cnnlab, images/s", "plain", "ReLU first", "cnnlab / plain")
MORE_HEADERS = ("cnnlab / ReLU first", "time outside forward, backward, step")


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


def make_trainer(model: str, device: str) -> Trainer:
    """Return what `cnnlab train model=MODEL` trains, with more epochs than the benchmark takes."""
    overrides = [f"model={model}", f"device={device}", "epochs=100000", "schedule=constant"]
    return build_trainer(call_checked(TrainSettings, compose("train", overrides), ""))


def cnnlab_loop(trainer: Trainer, run: Run) -> StepSizes:
    """cnnlab's loop, with what it logs."""
    last = 0
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


def plain_loop(trainer: Trainer, model: nn.Module) -> StepSizes:
    """The loop of PyTorch's MNIST example."""
    loader, device = make_plain_loader(trainer), trainer.device
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


def bare_loop(trainer: Trainer, model: nn.Module) -> StepSizes:
    """Forward, backward and step alone."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    images, labels = next(trainer.train_batches.iterate_epoch(0))
    model.train()
    while True:
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        yield len(labels)


def move_relu_before_pooling(model: nn.Module) -> nn.Module:
    """Return the network with every ReLU before its pooling, as the chapter writes it."""
    for name, block in model.named_children():
        if hasattr(block, "pool"):
            setattr(model, name, nn.Sequential(block.conv, nn.ReLU(), block.pool))
    return model


def measure_rate(loop: StepSizes, seconds: float, device: torch.device) -> float:
    """Return images/s over at least `seconds`."""
    synchronize(device)
    start, num_images = perf_counter(), 0
    while perf_counter() - start < seconds:
        num_images += next(loop)
    synchronize(device)
    return num_images / (perf_counter() - start)


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all loops on a network, in alternation."""
    with tempfile.TemporaryDirectory() as folder:
        trainers = [make_trainer(model, options.device) for _ in range(4)]
        device, threads = trainers[0].device, trainers[0].settings.threads
        loops = {
            "cnnlab": cnnlab_loop(trainers[0], Run(Path(folder))),
            "plain": plain_loop(trainers[1], trainers[1].model),
            "bare": bare_loop(trainers[2], trainers[2].model),
        }
        if any(isinstance(module, nn.MaxPool2d) for module in trainers[3].model.modules()):
            relu_first = move_relu_before_pooling(trainers[3].model)
            loops["ReLU first"] = plain_loop(trainers[3], relu_first)
        for loop in loops.values():
            measure_rate(loop, min(1.0, options.seconds), device)

        def measure_loop(name: str) -> float:
            with use_threads(threads if name in ("cnnlab", "bare") else None):
                return measure_rate(loops[name], options.seconds, device)

        values = measure_alternately(
            {name: lambda name=name: measure_loop(name) for name in loops}, options.rounds
        )
    rates = summarize(values, "cnnlab", higher_is_better=True)
    return {
        "model": model,
        "images_per_s": rates,
        "times_plain": rates["plain"]["ratio"],
        "times_relu_first": rates["ReLU first"]["ratio"] if "ReLU first" in rates else None,
        "share_outside": 1 - rates["bare"]["ratio"],
        "batch_size": trainers[0].train_batches.batch_size,
    }


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    print_machine(
        f"{options.seconds:g} s of each loop in each of {options.rounds} rounds",
        "medians, ratios by round",
        device_name=options.device,
    )
    table, rows = Table(*HEADERS, *MORE_HEADERS), []
    for model in options.models:
        row = measure(model, options)
        rows.append(row)
        rates, relu_first = row["images_per_s"], row["times_relu_first"]
        median = {name: f"{rate['median']:,.0f}" for name, rate in rates.items()}
        table.add(
            f"`{model}`",
            median["cnnlab"],
            median["plain"],
            median.get("ReLU first", "-"),
            f"{row['times_plain']:.2f}",
            f"{relu_first:.2f}" if relu_first else "-",
            f"{row['share_outside']:.1%}",
        )
    return rows
