"""Measure two artifacts of stylized images: a frame at the border, and colors of neither source.

Eight pairs of a photograph and a painting, and two of scikit-learn's sample images and a drawn
mosaic. Ring r holds the pixels at distance r from the border. Chroma is max - min of R, G and B;
that of rings 0 to 3 is the mean relative to rings 4 to 8. `inside` is the same of ring 20, relative
to rings 24 to 28: what chance alone does. `line`: the mean |difference| of rings 0 and 1, relative
to that of the rings 4 to 8 and the next. `frame`: the largest difference of the mean color of the
rings 0 to 3 from that of the rings 4 to 8, in any channel, of 255.

A pixel is saturated where HSV saturation and value are at least 0.3; it is green from 75 to 165
degrees of hue. The share of saturated green pixels is compared with the larger one of the two
sources; `excess` is the largest share beyond 1.5 times that, of twelve sectors of 30 degrees.

`style` is the distance of the Gram matrices to the style image's, relative to the content image's,
by the network that stylized the image and by SqueezeNet: see `bench features`.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import Table, print_machine

CONTENTS = ("tubingen", "golden_gate")
STYLES = ("starry_night", "great_wave", "the_scream", "composition_vii")
OTHER_PAIRS = [("china", "flower"), ("china", "mosaic")]
RINGS, REFERENCE_RINGS = range(9), range(4, 9)
INSIDE = 20  # distance of the rings that the border is compared with
HUES = 12
MIN_SATURATION = MIN_VALUE = 0.3
GREEN_HUES = (75, 165)  # degrees
ALLOWED_RATIO = 1.5  # of a hue's saturated share to that of the sources


def add_options(parser: argparse.ArgumentParser) -> None:
    for name in ("weights", "images"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"folder of the {name}")
    parser.add_argument("--networks", nargs="*", default=["bundled", "vgg19_quarter"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=60, help="at each scale")
    parser.add_argument("--pairs", type=int, nargs="*", default=range(10), help="which, from 0")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_artifacts"))
    parser.add_argument("--set", nargs="*", default=[], help="overrides of stylize's settings")
    parser.add_argument("--read", action="store_true", help="measure what is in --out")


def list_pairs() -> list[tuple[str, str]]:
    return [(content, style) for content in CONTENTS for style in STYLES] + OTHER_PAIRS


def draw_mosaic() -> Image.Image:
    """Return 640x480 pixels of tiles in earth colors, 10 pixels each, with dark joints."""
    rng = np.random.default_rng(0)
    colors = np.array([[176, 120, 80], [90, 60, 50], [200, 180, 140], [60, 80, 110], [150, 60, 50]])
    tiles = colors[rng.integers(0, len(colors), (48, 64))] + rng.normal(0, 12, (48, 64, 3))
    pixels = tiles.repeat(10, 0).repeat(10, 1)
    pixels[::10] = pixels[:, ::10] = 30
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def find_image(name: str, options: argparse.Namespace) -> Path:
    """Return the path of an image: a file of --images, a sample of scikit-learn, or the mosaic."""
    path = options.images / f"{name}.jpg"
    if path.exists():
        return Path(path)
    if name == "mosaic":
        path = options.out / "mosaic.png"
        draw_mosaic().save(path)
        return Path(path)
    (folder,) = find_spec("sklearn").submodule_search_locations  # importing it takes a second
    return Path(folder) / "datasets" / "images" / f"{name}.jpg"


def compute_chroma(pixels: np.ndarray) -> np.ndarray:
    """Return max - min over the last axis."""
    chroma: np.ndarray = pixels.max(-1) - pixels.min(-1)
    return chroma


def take_ring(values: np.ndarray, distance: int) -> np.ndarray:
    """Return the values (n, ...) of (H, W, ...) at a distance from the border."""
    height, width = values.shape[:2]
    inner = values[distance : height - distance, distance : width - distance]
    sides = (inner[0], inner[-1], inner[1:-1, 0], inner[1:-1, -1])
    return np.concatenate(sides)


def relate_rings(values: list[float]) -> list[float]:
    """Return the values of rings 0 to 3 relative to the mean of the rings 4 to 8."""
    reference = mean(values[ring] for ring in REFERENCE_RINGS)
    return [value / reference for value in values[:4]]


def measure_rings(pixels: np.ndarray, start: int = 0) -> dict[str, Any]:
    """Return chroma, line and frame of the rings from `start`."""
    rings = [take_ring(pixels, start + ring) for ring in RINGS]
    colors = np.array([ring.mean(0) for ring in rings])
    offsets = np.abs(colors[:4] - colors[list(REFERENCE_RINGS)].mean(0))
    return {
        "chroma": relate_rings([float(compute_chroma(ring).mean()) for ring in rings]),
        "line": relate_rings([measure_step(pixels, start + ring) for ring in RINGS])[0],
        "frame": float(offsets.max() * 255),
    }


def measure_step(pixels: np.ndarray, ring: int) -> float:
    """Return the mean |difference| of ring r and r + 1, across the border's direction."""
    height, width = pixels.shape[:2]
    rows, columns = slice(ring + 1, height - ring - 1), slice(ring + 1, width - ring - 1)
    pairs = [
        (pixels[ring, columns], pixels[ring + 1, columns]),
        (pixels[-1 - ring, columns], pixels[-2 - ring, columns]),
        (pixels[rows, ring], pixels[rows, ring + 1]),
        (pixels[rows, -1 - ring], pixels[rows, -2 - ring]),
    ]
    return float(np.concatenate([np.abs(a - b).mean(-1) for a, b in pairs]).mean())


def measure_hues(pixels: np.ndarray) -> np.ndarray:
    """Return the shares of pixels that are saturated: of green, and of each sector from red on."""
    chroma, value = compute_chroma(pixels), pixels.max(-1)
    is_saturated = (value >= MIN_VALUE) & (chroma >= MIN_SATURATION * value) & (chroma > 0)
    red, green, blue = np.moveaxis(pixels[is_saturated], -1, 0)
    chroma, value = chroma[is_saturated], value[is_saturated]
    sextants = [(green - blue) / chroma % 6, (blue - red) / chroma + 2, (red - green) / chroma + 4]
    hue = 60 * np.select([value == red, value == green, value == blue], sextants)
    counts = np.bincount(np.round(hue / 360 * HUES).astype(int) % HUES, minlength=HUES)
    greens = ((hue >= GREEN_HUES[0]) & (hue < GREEN_HUES[1])).sum()
    return np.array([greens, *counts]) / is_saturated.size


def to_pixels(image: Any) -> np.ndarray:
    """Return (1, 3, H, W) as (H, W, 3)."""
    pixels: np.ndarray = image[0].permute(1, 2, 0).double().numpy()
    return pixels


def measure(network: str, content: str, style: str, options: argparse.Namespace) -> dict[str, Any]:
    """Stylize a pair, save the image, and return what is measured of it."""
    from benchmarks.features import relative_style_distance, stylize
    from cnnlab.style.source_image import image_to_tensor

    weights = options.weights / f"{network}.safetensors"
    features = f"features.weights='{weights}'" if weights.exists() else f"features.name={network}"
    words = [f"size={options.size}", f"steps={options.steps}", f"first_steps={options.steps}"]
    paths = [find_image(name, options) for name in (content, style)]
    path = options.out / f"{network}_{content}_{style}.png"
    if options.read:
        words += ["steps=1", "first_steps=1", "coarsest=4096"]  # for the sources at their sizes
    image, P, A, seconds = stylize([*words, features, *options.set], *paths)
    if options.read:
        image = Image.open(path).convert("RGB")
    else:
        image.save(path)
    output, *sources = (to_pixels(x) for x in (image_to_tensor(image), P, A))
    shares = measure_hues(output)
    source_shares = np.maximum(*(measure_hues(pixels) for pixels in sources))
    return {
        "network": network,
        "content": content,
        "style": style,
        "rings": measure_rings(output),
        "inside": measure_rings(output, INSIDE),
        "content rings": measure_rings(sources[0]),
        "shares": shares.tolist(),
        "source_shares": source_shares.tolist(),
        "excess": float((shares - ALLOWED_RATIO * source_shares).max()),
        "distances": {
            name: relative_style_distance(evaluate, image_to_tensor(image), P, A)
            for name, evaluate in make_evaluators(network, options).items()
        },
        "seconds": seconds,
    }


def make_evaluators(network: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what computes Gram matrices: the network that stylizes, and SqueezeNet."""
    from benchmarks.features import make_encoder_evaluator, make_squeezenet_evaluator
    from cnnlab.style.encoder import BUNDLED_WEIGHTS

    path = BUNDLED_WEIGHTS if network == "bundled" else options.weights / f"{network}.safetensors"
    return {
        "own": make_encoder_evaluator(path),
        "squeezenet": make_squeezenet_evaluator(options.weights),
    }


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    options.out.mkdir(parents=True, exist_ok=True)
    print_machine(f"{options.size} pixels, {options.steps} steps a scale", *options.set)
    names = ("chroma 0", "1", "2", "3", "inside", "line", "frame")
    names += ("green", "its sources", "excess", "style", "by SqueezeNet", "s")
    rows = list[dict[str, Any]]()
    table = Table("network", "content, style", *names)
    for network in options.networks:
        own = []
        for content, style in (list_pairs()[i] for i in options.pairs):
            own.append(measure(network, content, style, options))
            table.add(network, f"{content}, {style}", *format_cells(own[-1:]))
        table.add(f"**{network}**", f"**mean of {len(own)}**", *format_cells(own))
        rows += own
    return rows


def format_cells(rows: list[dict[str, Any]]) -> list[str]:
    """Return the cells of the means of rows."""
    ratios = [mean(row["rings"]["chroma"][ring] for row in rows) for ring in range(4)]
    ratios.append(mean(row["inside"]["chroma"][0] for row in rows))
    ratios += [mean(row["rings"][name] for row in rows) for name in ("line", "frame")]
    green = [mean(row[key][0] for row in rows) for key in ("shares", "source_shares")]
    shares = [*green, mean(row["excess"] for row in rows)]
    seconds = mean(row["seconds"] for row in rows)
    styles = [mean(row["distances"][name] for row in rows) for name in ("own", "squeezenet")]
    cells = [f"{x:.2f}" for x in ratios] + [f"{100 * x:.2f} %" for x in shares]
    return [*cells, *(f"{x:.4f}" for x in styles), f"{seconds:.0f}"]
