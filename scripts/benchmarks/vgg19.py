"""Measure `cnnlab stylize` with full-width VGG-19, from a file as torchvision writes it.

Seconds per step, and peak memory of the process (of the device, on a GPU). `--weights`:
convolutions in safetensors, as many as there are; the rest is random (He et al. 2015), which costs
the same. They go into torchvision's own module, their input convention converted to its own (but
at the borders, where zeros then stand for another shade), and from its state dict, classifier
included, into a .pth, which is read as a user's would be. One scale, one process per size.
"""

import argparse
import json
import re
import tempfile
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from benchmarks.harness import Table, print_machine, run_child

HEADERS = ("pixels", "s per step", "s to the first step's end", "peak GB", "s to read", "peak GB")


def add_options(parser: argparse.ArgumentParser) -> None:
    for name in ("weights", "content", "style"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 512])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--device", default="cpu")


def convert_weights(path: Path) -> tuple[dict[str, Any], int]:
    """Return VGG-19's convolutions in torchvision's input convention, and how many the file had."""
    import torch

    from cnnlab.style.vgg import (
        CONVS_PER_BLOCK,
        TORCHVISION_CONVENTION,
        conv_channels,
        init_random_vgg,
    )
    from cnnlab.style.vgg_weights import read_vgg_weights

    trained, convention = read_vgg_weights(path)
    channels = conv_channels(CONVS_PER_BLOCK["vgg19"])
    tensors = init_random_vgg(channels, torch.Generator().manual_seed(0))
    mean, std = map(torch.tensor, (TORCHVISION_CONVENTION.mean, TORCHVISION_CONVENTION.std))
    own_mean, own_std = map(torch.tensor, (convention.mean, convention.std))
    first = trained["conv1_1.weight"] / own_std.view(1, 3, 1, 1)  # of RGB in 0..1 minus own_mean
    shift = (first.sum((2, 3)) * (mean - own_mean)).sum(1)
    trained["conv1_1.bias"] = trained["conv1_1.bias"] + shift
    trained["conv1_1.weight"] = first * std.view(1, 3, 1, 1)
    return tensors | trained, len(trained) // 2


def write_torchvision_weights(path: Path, target: Path) -> int:
    """Write torchvision's VGG-19 with the file's convolutions; return how many there are."""
    import torch
    from torchvision.models import vgg19

    from cnnlab.style.vgg import CONVS_PER_BLOCK, conv_channels

    tensors, num_trained = convert_weights(path)
    model = vgg19(weights=None)
    convolutions = [layer for layer in model.features if isinstance(layer, torch.nn.Conv2d)]
    names = conv_channels(CONVS_PER_BLOCK["vgg19"])
    for name, layer in zip(names, convolutions, strict=True):
        layer.load_state_dict({part: tensors[f"{name}.{part}"] for part in ("weight", "bias")})
    torch.save(model.state_dict(), target)
    return num_trained


def measure_in_child(
    weights: str, content: str, style: str, size: int, steps: int, device: str
) -> None:
    """Optimize at one scale; print the row as JSON."""
    import torch

    from benchmarks.transfer_job import prepare_transfer
    from cnnlab.style.optimizers import LBFGS
    from cnnlab.style.time_budget import TransferBudget
    from cnnlab.style.transfer import transfer_style

    overrides = [f"size={size}", "coarsest=100000", "features.name=vgg19"]
    overrides.append(f"features.weights='{weights}'")
    start = monotonic()
    _, job = prepare_transfer(Path(content), Path(style), overrides, device)
    read_s, read_gb, seconds = monotonic() - start, reset_peak_gb(), []
    before = monotonic()
    ratios = [job.transfer_loss.style_pixel_ratio(pixels) for pixels in job.sizes]
    budget = TransferBudget(job.sizes, [steps + 1], ratios)

    def make_optimizer(*arguments: Any) -> LBFGS:
        return LBFGS(*arguments, history_size=20)

    for _ in transfer_style(job.transfer_loss, job.make_initial_image, make_optimizer, budget):
        seconds.append(monotonic() - before)
        before = monotonic()
    on_gpu = torch.device(device).type == "cuda"
    peak_gb = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else reset_peak_gb()
    row = {"size": job.sizes[-1], "step_s": median(seconds[1:]), "first_step_s": seconds[0]}
    print(json.dumps(row | {"peak_gb": peak_gb, "read_s": read_s, "read_peak_gb": read_gb}))


def reset_peak_gb() -> float:
    """Return the peak resident memory of this process in GB since the last call (Linux)."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    Path("/proc/self/clear_refs").write_text("5")
    return int(match[1]) * 1024 / 1e9 if match else float("nan")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    arguments = {"content": str(options.content), "style": str(options.style)}
    arguments |= {"steps": options.steps, "device": options.device}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "vgg19.pth"
        num_trained = write_torchvision_weights(options.weights, weights)
        print_machine(
            f"VGG-19, {num_trained} of its convolutions trained",
            f"medians of {options.steps} steps",
            device_name=options.device,
        )
        table, rows = Table(*HEADERS), []
        for size in options.sizes:
            row = json.loads(run_child("vgg19", weights=str(weights), size=size, **arguments))
            rows.append(row)
            height, width = row["size"]
            painting = (
                f"{row['step_s']:.2f}",
                f"{row['first_step_s']:.1f}",
                f"{row['peak_gb']:.2f}",
            )
            reading = (f"{row['read_s']:.1f}", f"{row['read_peak_gb']:.2f}")
            table.add(f"{width}x{height}", *painting, *reading)
    return rows
