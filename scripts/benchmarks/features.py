"""Compare stylized images of several networks, as other networks evaluate them.

Two content images with four style images each, by `cnnlab stylize`'s own defaults with the bundled
network, with vgg19_quarter, and with random weights. Each output image, as it is saved, is
evaluated by vgg19_quarter and by SqueezeNet 1.1 (of those only SqueezeNet has stylized none of
them). Their Gram matrices say how far it is from the style image, relative to the content image: 1
the content image, 0 the style image; mean over layers.
"""

import argparse
import json
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from time import monotonic
from typing import Any

from benchmarks.harness import Table, print_machine

CONTENTS = ("tubingen", "golden_gate")
STYLES = ("starry_night", "great_wave", "the_scream", "composition_vii")
SQUEEZENET_LAYERS = (1, 3, 6, 9)  # after the first convolution, and the block before each pooling
Evaluator = Callable[[Any], list[Any]]  # (1, 3, H, W) in 0..1 -> Gram matrices


def add_options(parser: argparse.ArgumentParser) -> None:
    for name in ("weights", "images"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"folder of the {name}")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_features"))
    parser.add_argument("--networks", nargs="*", metavar="NAME|FILE")
    parser.add_argument("--contents", nargs="*", default=CONTENTS)
    parser.add_argument("--styles", nargs="*", default=STYLES)
    parser.add_argument("--sheet", type=Path, help="draw what is in --out, and stylize nothing")


def make_encoder_evaluator(path: Path) -> Evaluator:
    """Return what computes Gram matrices of the first ReLUs of the blocks of a VGG's weights."""
    from cnnlab.style.gram import gram_matrix
    from cnnlab.style.vgg import VGGFeatures
    from cnnlab.style.vgg_weights import read_vgg_weights

    encoder = VGGFeatures(*read_vgg_weights(path))
    names = [f"relu{block}_1" for block in range(1, 6)]
    return lambda x: [gram_matrix(maps) for maps in encoder(x, names).values()]


def load_squeezenet(weights: Path) -> Callable[[Any, Sequence[int]], dict[int, Any]]:
    """Return what computes the maps of (1, 3, H, W) in 0..1 at layers of SqueezeNet 1.1."""
    import torch
    from safetensors.torch import load_file
    from torchvision import models

    tensors = load_file(weights / "squeezenet1_1_features.safetensors")
    network = models.squeezenet1_1(weights=None).features.eval()
    network.load_state_dict(
        {name.removeprefix("features."): tensor for name, tensor in tensors.items()}
    )
    shift = torch.tensor([123, 117, 104]).view(1, 3, 1, 1) / 255

    def compute_maps(x: Any, layers: Sequence[int]) -> dict[int, Any]:
        x, maps = x - shift, {}
        for i, layer in enumerate(network[: max(layers) + 1]):
            x = layer(x)
            if i in layers:
                maps[i] = x
        return maps

    return compute_maps


def make_squeezenet_evaluator(weights: Path) -> Evaluator:
    from cnnlab.style.gram import gram_matrix

    compute_maps = load_squeezenet(weights)
    return lambda x: [gram_matrix(maps) for maps in compute_maps(x, SQUEEZENET_LAYERS).values()]


def stylize(overrides: list[str], content: Path, style: Path) -> tuple[Any, Any, Any, float]:
    """Return the output image as it is saved, the content and style images as tensors, and the
    seconds."""
    from benchmarks.transfer_job import make_budget, prepare_transfer, run_lbfgs
    from cnnlab.style.source_image import tensor_to_image
    from cnnlab.style.transfer import resize_bicubic

    start = monotonic()
    settings, job = prepare_transfer(content, style, overrides)
    budget = make_budget(settings, job)
    (state,) = deque(run_lbfgs(settings, job, budget), maxlen=1)  # the last one
    loss, image = job.evaluation_loss, tensor_to_image(resize_bicubic(state.image, job.size))
    style_image = loss.styles[0](loss.compute_style_sizes(job.size)[0])
    return image, loss.content(job.size), style_image, monotonic() - start


def relative_style_distance(evaluate: Evaluator, image: Any, content: Any, style: Any) -> float:
    """Return |G - A|^2 / |P - A|^2 of the Gram matrices of image, content and style: the mean over
    layers."""
    import torch

    with torch.inference_mode():
        grams = zip(*(evaluate(x) for x in (image, content, style)), strict=True)
        return mean(float((G - A).square().sum() / (P - A).square().sum()) for G, P, A in grams)


def draw_sheet(folder: Path, path: Path) -> None:
    """Draw the images of the table's first content image, a row per style image, a column per
    network."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    rows = json.loads((folder / "table.json").read_text())
    rows = [row for row in rows if row["content"] == rows[0]["content"]]
    networks, styles = (list(dict.fromkeys(row[k] for row in rows)) for k in ("network", "style"))
    size = (3.4 * len(networks), 2.85 * len(styles) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(styles), len(networks), squeeze=False)
    for row in rows:
        at = axes[styles.index(row["style"])][networks.index(row["network"])]
        at.imshow(Image.open(folder / f"{row['network']}_{row['content']}_{row['style']}.png"))
        distances = " and ".join(f"{value:.2f}" for value in row["distances"].values())
        at.set_title(f"{row['network']}: {distances}", fontsize=10)
        at.set_axis_off()
    title = "Relative style distance (1: content, 0: style image): vgg19_quarter and SqueezeNet"
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 90})


def measure(
    network: str,
    content: str,
    style: str,
    options: argparse.Namespace,
    evaluators: dict[str, Evaluator],
) -> dict[str, Any]:
    """Stylize a pair of images with a network, save the image and evaluate it."""
    from cnnlab.style.source_image import image_to_tensor

    features = f"features.weights='{network}'" if "." in network else f"features.name={network}"
    paths = (options.images / f"{name}.jpg" for name in (content, style))
    image, P, A, seconds = stylize([f"size={options.size}", features], *paths)
    name = Path(network).stem
    image.save(options.out / f"{name}_{content}_{style}.png")
    x = image_to_tensor(image)
    distances = {
        key: relative_style_distance(evaluate, x, P, A) for key, evaluate in evaluators.items()
    }
    row = {"network": name, "content": content, "style": style, "seconds": seconds}
    return row | {"distances": distances}


def run(options: argparse.Namespace) -> list[dict[str, Any]] | None:
    if options.sheet:
        draw_sheet(options.out, options.sheet)
        return None
    quarter = str(options.weights / "vgg19_quarter.safetensors")
    evaluators = {
        "vgg19_quarter": make_encoder_evaluator(Path(quarter)),
        "squeezenet1_1": make_squeezenet_evaluator(options.weights),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    print_machine(f"{options.size} pixels", "style distance relative to the content image's")
    table, rows = Table("network", "content, style", *evaluators, "s"), []
    for network in options.networks or ["bundled", quarter, "random"]:
        own = []
        for content, style in ((a, b) for a in options.contents for b in options.styles):
            row = measure(network, content, style, options, evaluators)
            own.append(row)
            cells = [f"{value:.3f}" for value in row["distances"].values()]
            table.add(row["network"], f"{content}, {style}", *cells, f"{row['seconds']:.0f}")
        means = [f"{mean(row['distances'][key] for row in own):.3f}" for key in evaluators]
        seconds = f"{mean(row['seconds'] for row in own):.0f}"
        table.add(f"**{Path(network).stem}**", f"**mean of {len(own)}**", *means, seconds)
        rows += own
    (options.out / "table.json").write_text(json.dumps(rows, indent=1))
    return rows
