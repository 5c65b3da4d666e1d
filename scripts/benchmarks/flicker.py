"""Measure how much a stylized clip flickers, against its frames stylized one by one.

The clip: a disc, cut from a painting, moves over a photograph that stands still. Flicker is the
mean |difference| of an output frame from the one before, in 0..1, over the pixels where no channel
of the content changes by more than 1 of 255. Both by `cnnlab stylize` with the same settings. The
figure shows, for both, frames, and where the last of them differs from the one before.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageSequence

from benchmarks.harness import Table, print_machine

SHOWN_SHARES = (0.0, 0.3, 0.6, 1.0)  # of the clip, for the figure
DIFFERENCE_GAIN = 4  # of the differences in the figure


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of the images")
    parser.add_argument("--content", default="tubingen.jpg")
    parser.add_argument("--style", default="starry_night.jpg")
    parser.add_argument("--disc", default="composition_vii.jpg", help="what the disc is cut from")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--set", nargs="*", default=[], help="overrides of stylize's settings")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_flicker"))


def make_contents(options: argparse.Namespace) -> list[Image.Image]:
    """Return the frames of the clip, RGB."""
    photo = Image.open(options.images / options.content).convert("RGB")
    width = options.size
    photo = photo.resize((width, round(width * photo.height / photo.width)))
    side = width // 5
    disc = Image.open(options.images / options.disc).convert("RGB").resize((3 * side, 2 * side))
    disc = disc.crop((side, side // 2, 2 * side, side // 2 + side))
    mask = Image.new("L", (4 * side, 4 * side))
    ImageDraw.Draw(mask).ellipse((0, 0, 4 * side - 1, 4 * side - 1), fill=255)
    frames = []
    for number in range(options.frames):
        share = number / (options.frames - 1)
        frame = photo.copy()
        place = round(share * (width - side)), round(side * (0.4 + 0.3 * np.sin(5 * share)))
        frame.paste(disc, place, mask.resize((side, side)))
        frames.append(frame)
    return frames


def stylize(content: Path, out: Path, options: argparse.Namespace) -> float:
    """Stylize a clip or a folder; return the seconds it took."""
    command = [sys.executable, "-m", "cnnlab", "stylize", str(content)]
    command += [str(options.images / options.style), f"out={out}", "--overwrite"]
    command += [f"size={options.size}", f"outputs={options.out / 'logs'}", *options.set]
    began = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - began


def measure_flicker(contents: list[np.ndarray], outputs: list[np.ndarray]) -> float:
    """Return the flicker of (H, W, 3) uint8 frames."""
    total, count = 0.0, 0
    for t in range(1, len(contents)):
        steady = find_steady_pixels(contents, t)
        total += difference(outputs, t)[steady].sum()
        count += steady.sum()
    return float(total / count / 255)


def find_steady_pixels(contents: list[np.ndarray], t: int) -> np.ndarray:
    """Return where the content does not change at frame t, (H, W)."""
    change = np.abs(contents[t].astype(int) - contents[t - 1]).max(-1)
    return np.asarray(change <= 1)


def difference(frames: list[np.ndarray], t: int) -> np.ndarray:
    """Return the mean |difference| over channels of frame t from the one before, (H, W)."""
    return np.asarray(np.abs(frames[t].astype(int) - frames[t - 1]).mean(-1))


def draw_figure(contents: list[np.ndarray], rows: dict[str, list[np.ndarray]]) -> np.ndarray:
    """Return rows of frames, and the difference of the last where the content is steady."""
    shown = [round(share * (len(contents) - 1)) for share in SHOWN_SHARES]
    sheet = []
    for frames in (contents, *rows.values()):
        change = difference(frames, shown[-1]) * find_steady_pixels(contents, shown[-1])
        gray = (DIFFERENCE_GAIN * change).clip(0, 255).astype(np.uint8)
        sheet.append(np.hstack([*(frames[t] for t in shown), np.repeat(gray[..., None], 3, -1)]))
    return np.vstack(sheet)


def run(options: argparse.Namespace) -> dict[str, Any]:
    folder = options.out / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    frames = make_contents(options)
    for number, frame in enumerate(frames):
        frame.save(folder / f"{number:03d}.png")
    clip = options.out / "clip.png"
    frames[0].save(clip, save_all=True, append_images=frames[1:], duration=80, loop=0)
    print_machine(f"{len(frames)} frames of {options.size} pixels, {options.style}", *options.set)
    seconds = {
        "one by one": stylize(folder, options.out / "single", options),
        "clip": stylize(clip, options.out / "stylized.apng", options),
    }
    animation = ImageSequence.Iterator(Image.open(options.out / "stylized.apng"))
    paths = sorted((options.out / "single").glob("*.png"))
    rows = {
        "one by one": [np.asarray(Image.open(path).convert("RGB")) for path in paths],
        "clip": [np.asarray(frame.convert("RGB")) for frame in animation],
    }
    contents, table = [np.asarray(frame) for frame in frames], Table("frames", "flicker", "s")
    results = {}
    for name, outputs in rows.items():
        results[name] = {"flicker": measure_flicker(contents, outputs), "seconds": seconds[name]}
        table.add(name, f"{results[name]['flicker']:.5f}", f"{seconds[name]:.0f}")
    Image.fromarray(draw_figure(contents, rows)).save(options.out / "flicker.png")
    print(f"\n{options.out / 'flicker.png'}")
    return results
