"""Run Crowson's style-transfer-pytorch on two images with the weights of a given VGG.

    python scripts/benchmarks/peer_style_transfer.py CONTENT STYLE --peer FOLDER --weights FILE \
        --out FILE [--size PIXELS] [--iterations N] [--initial-iterations N] [--content-weight X]

FOLDER is a checkout of https://github.com/crowsonkb/style-transfer-pytorch. Its code runs as it is,
with three replacements: the network that `torchvision.models.vgg19` returns has FILE's weights, the
normalization of its input is FILE's, and both images are read by cnnlab's reader (upright, sRGB).
Its package's __init__ is skipped, since that imports a web server. FILE's padding is kept, but the
program itself gives the first convolution the padding `replicate`, as it does to torchvision's. It
saves one image, at the end; by its own command line it would save one every 50 iterations. The
times of each scale are printed as JSON.
"""

import argparse
import json
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from types import ModuleType
from typing import Any
from unittest.mock import patch

INITIAL_ITERATIONS, ITERATIONS, CONTENT_WEIGHT = 1000, 500, 0.015  # the program's defaults


def scale_iterations(timing: dict[str, Any], overhead_s: float, seconds: float) -> tuple[int, int]:
    """Return the iterations at the first scale and at each other one that take `seconds`.

    They are the program's defaults times one factor, but at least 1. `timing`: what `stylize`
    returns, of the same sizes; `overhead_s`: seconds of the process outside the optimization.
    """
    first, *others = timing["scales"]
    setup_s = overhead_s + sum(scale["setup_s"] for scale in timing["scales"])
    default_s = INITIAL_ITERATIONS * first["iteration_s"]
    default_s += ITERATIONS * sum(scale["iteration_s"] for scale in others)
    factor = max(0.0, seconds - setup_s) / default_s
    return max(1, round(INITIAL_ITERATIONS * factor)), max(1, round(ITERATIONS * factor))


def summarize_scales(started_at: float, ends: dict[int, list[float]]) -> list[dict[str, Any]]:
    """Return pixels, iterations, seconds per iteration (median) and seconds before the first one.

    `ends`: longer side in pixels -> when each iteration ended, scales in order.
    """
    scales, before = [], started_at
    for size, times in ends.items():
        durations = [end - start for start, end in pairwise(times)]
        iteration_s = median(durations or [times[0] - before])
        scales.append(
            {
                "size": size,
                "iterations": len(times),
                "iteration_s": iteration_s,
                "setup_s": max(0.0, times[0] - before - iteration_s),
            }
        )
        before = times[-1]
    return scales


def check_peer(folder: Path | None) -> None:
    """Exit, as for wrong usage, if the folder is not a checkout of the program."""
    if folder and (folder / "style_transfer" / "style_transfer.py").is_file():
        return
    fault = f"{folder} is not" if folder else "--peer is missing:"
    sys.stderr.write(
        f"error: {fault} a checkout of style-transfer-pytorch\n"
        "git clone https://github.com/crowsonkb/style-transfer-pytorch\n"
    )
    sys.exit(2)


def import_peer(folder: Path) -> ModuleType:
    """Return the module that defines StyleTransfer, of a checkout."""
    check_peer(folder)
    package = ModuleType("style_transfer")
    package.__path__ = [str(folder / "style_transfer")]
    sys.modules["style_transfer"] = package
    return import_module("style_transfer.style_transfer")


def make_network(weights: Path) -> tuple[Any, Any]:
    """Return the layers of a VGG in torchvision's order, and the normalization of its input."""
    from torchvision.transforms import Normalize

    from cnnlab.style.vgg import VGGFeatures
    from cnnlab.style.vgg_weights import read_vgg_weights

    tensors, convention = read_vgg_weights(weights)
    if (convention.range, convention.color, convention.pool) != ("0..1", "RGB", "max"):
        sys.stderr.write(
            f"error: {weights.name} does not take RGB in 0..1, or has no max pooling\n"
        )
        sys.exit(2)
    layers = VGGFeatures(tensors, convention).layers
    return layers, Normalize(mean=convention.mean, std=convention.std)


def make_style_transfer(module: ModuleType, weights: Path, device: str) -> Any:
    """Return the program's StyleTransfer with the weights of a VGG."""
    from torch import nn
    from torchvision import models

    layers, normalize = make_network(weights)
    network = nn.Module()
    network.features = layers
    with patch.object(models, "vgg19", lambda weights: network):
        style_transfer = module.StyleTransfer(devices=[device])
    style_transfer.model.normalize = normalize
    return style_transfer


def stylize(options: argparse.Namespace) -> dict[str, Any]:
    """Stylize two images, save the output image, and return the time that the scales took."""
    import torch

    from cnnlab.core.photo import read_photo

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    style_transfer = make_style_transfer(import_peer(options.peer), options.weights, options.device)
    content, style = (read_photo(path).rgb for path in (options.content, options.style))
    ends: dict[int, list[float]] = {}
    started_at = perf_counter()
    image = style_transfer.stylize(
        content,
        [style],
        content_weight=options.content_weight,
        end_scale=options.size,
        iterations=options.iterations,
        initial_iterations=options.initial_iterations,
        callback=lambda state: ends.setdefault(max(state.w, state.h), []).append(perf_counter()),
    )
    seconds = perf_counter() - started_at
    image.save(options.out)
    return {"scales": summarize_scales(started_at, ends), "seconds": seconds}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("content", "style"):
        parser.add_argument(name, type=Path)
    for name in ("peer", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512, help="pixels of the longer side")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--initial-iterations", type=int, default=INITIAL_ITERATIONS)
    parser.add_argument("--content-weight", type=float, default=CONTENT_WEIGHT)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(stylize(parse_options())))
